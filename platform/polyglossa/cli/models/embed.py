"""`polyglossa embed`: a corpus of files through a member, into files of vectors."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from polyglossa.cli.command import taken_up_again
from polyglossa.cli.models.find import find_member
from polyglossa.cli.options import Overrides, ProfileFile
from polyglossa.recipe import load_profile
from polyglossa.runtime import console
from polyglossa.storage import absolute


def embed(
    files: Annotated[list[str], typer.Argument(metavar="FILES", help="JSONL, CSV, TSV, Parquet; paths, globs, URIs.")],
    member: Annotated[str, typer.Option(help="Model directory, or with --recipe a member's name.")],
    out: Annotated[str, typer.Option(help="Folder of the vectors; the same command goes on with what it holds.")],
    recipe: Annotated[Path | None, typer.Option("--recipe", help="Recipe whose finished member embeds.")] = None,
    overrides: Overrides = None,
    text: Annotated[str, typer.Option(help="Column of the texts.")] = "text",
    identity: Annotated[str | None, typer.Option("--id", help="Column of ids; without, FILE:START:ROW.")] = None,
    prompt: Annotated[str | None, typer.Option(help="One of the model's prompts; default: its own default.")] = None,
    width: Annotated[int | None, typer.Option(min=1, help="Width of the vectors.")] = None,
    dtype: Annotated[str, typer.Option(help="float32, float16, int8 or binary.")] = "float32",
    engine: Annotated[str, typer.Option(help="torch, onnx, openvino, vllm or auto.")] = "torch",
    precision: Annotated[str | None, typer.Option(help="What it computes in: float32, bfloat16, int8.")] = None,
    index: Annotated[str | None, typer.Option(help="Also write a FAISS index: Flat, HNSW32, IVF1024,SQ8 …")] = None,
    profile: ProfileFile = None,
) -> None:
    """Embed files of texts; interrupted, the same command goes on where it stopped."""
    from polyglossa.extras import require_extras

    require_extras(("cluster",), "embed")
    path, _ = find_member(member, recipe, overrides or ())
    placement = load_profile(profile)
    from polyglossa.bulk.plan import EmbedJob, check_job
    from polyglossa.bulk.run import embed_corpus
    from polyglossa.engines.spec import ENGINES, EngineSpec
    from polyglossa.errors import UserError
    from polyglossa.model.directory import describe_directory
    from polyglossa.runtime.session import ray_session

    if engine not in ENGINES:
        raise UserError(f"--engine {engine}: is not one of {', '.join(ENGINES)}.")
    spec = EngineSpec(engine, precision, None, placement.serve.gpus)
    job = EmbedJob(
        tuple(files), absolute(path), absolute(out), text, identity, prompt, width, dtype, spec,
        chunk_tokens=16_384 if placement.serve.gpus else 512,
    )  # fmt: skip
    description, _ = describe_directory(path)
    check_job(job, [description.width], list(description.prompts))
    log = Path("runs/logs") / f"embed-{datetime.now():%Y%m%d-%H%M%S}.log"
    with taken_up_again(), console.open_console(log), ray_session(placement):
        done = embed_corpus(job, placement.serve)
        console.say(f"{done['texts']} texts in {done['units']} units; {done['kept']} units were there.")
        if done["rejected"]:
            console.say(f"{done['rejected']} rows hold no text that can be read.")
    if index is not None:
        from polyglossa.bulk.faiss_index import write_index

        typer.echo(f"index of {write_index(job, index)} vectors")
    typer.echo(f"vectors: {out}")
