"""`polyglossa export`: a member in other programs' formats, or on the hub."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from polyglossa.cli.models.find import find_member
from polyglossa.cli.options import Overrides
from polyglossa.errors import UserError

_Member = Annotated[str, typer.Argument(metavar="MEMBER", help="Model directory, or with --recipe a member's name.")]
_Recipe = Annotated[Path | None, typer.Option("--recipe", help="Recipe whose finished member is exported.")]
_Evaluation = Annotated[str | None, typer.Option(help="Evaluation whose results go on the card (an artifact).")]


def export(
    member: _Member,
    to: Annotated[str, typer.Option(help="onnx, openvino, gguf, folder or hub.")],
    out: Annotated[str | None, typer.Option(help="Folder that is made; default: exports/NAME-FORMAT.")] = None,
    weights: Annotated[
        list[str] | None, typer.Option(help="Weights, repeated for more: float32, int8, int4; of GGUF F16, Q8_0.")
    ] = None,
    panel: Annotated[
        Path | None, typer.Option(help="Texts, one a line, to hold it to; default: a built-in panel.")
    ] = None,
    least_cosine: Annotated[
        float | None, typer.Option(min=-1, max=1, help="Accept this least cosine to the encoder.")
    ] = None,
    recipe: _Recipe = None,
    overrides: Overrides = None,
    name: Annotated[str | None, typer.Option(help="Name in the files; on the hub ORGANISATION/MODEL.")] = None,
    licence: Annotated[str | None, typer.Option(help="On the hub: apache-2.0, mit, cc-by-4.0, other …")] = None,
    evaluation: _Evaluation = None,
    upload: Annotated[
        bool, typer.Option("--upload", help="Send it to the hub; without, only what would be sent.")
    ] = False,
    private: Annotated[bool, typer.Option("--private", help="Hide a repository that is made.")] = False,
    token_variable: Annotated[str, typer.Option(help="Environment variable with the hub's token.")] = "HF_TOKEN",
) -> None:
    """Write a member in another program's format, held to the encoder before it is kept."""
    hub = to == "hub"
    if hub and (name is None or licence is None):
        raise UserError("export --to hub: give --name ORGANISATION/MODEL and --licence.")
    from polyglossa.export.hub import check_card
    from polyglossa.export.request import check_request

    if hub:
        check_card(name or "", licence or "")
    kind = "folder" if hub else to
    check_request(kind, weights or ())
    path, called = find_member(member, recipe, overrides or ())
    place = out or f"exports/{called}-{to}"
    texts = _panel(panel) if panel is not None else None
    from polyglossa.export.write import export_model
    from polyglossa.storage import local_folder

    with local_folder(path) as folder:
        manifest = export_model(
            folder, kind, place, name=name or called, weights=weights or (), panel=texts, least_cosine=least_cosine
        )
    if hub:
        _to_hub(Path(place), name or "", licence or "", evaluation, upload, private, token_variable)
    typer.echo(_table(manifest, place))


def _panel(file: Path) -> Any:
    from polyglossa.export.panel import text_panel

    try:
        return text_panel([line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()])
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"--panel {file}: cannot be read as UTF-8 text ({' '.join(str(error).split())[:120]})."
        ) from None


def _to_hub(
    folder: Path, name: str, licence: str, evaluation: str | None, upload: bool, private: bool, token_variable: str
) -> None:
    from polyglossa.export import hub

    results: Sequence[dict[str, Any]] = ()
    if evaluation is not None:
        from polyglossa.evaluate.submission import read_results

        results = read_results(evaluation)
    hub.write_card(folder, hub.HubCard(name, licence, results=results))
    if upload:
        typer.echo(hub.upload(folder, name, token_variable=token_variable, private=private))
        return
    for file, size in hub.listing(folder):
        typer.echo(f"{size:>12,}  {file}")
    typer.echo(f"Nothing was sent; --upload sends it to {name}.")


def _table(manifest: dict[str, Any], place: str) -> str:
    lines = [
        f"{place}: {manifest['format']} of {manifest['model']['name']}, {manifest['panel_texts']} texts in the panel"
    ]
    for one in manifest["files"]:
        kept = one["panel"]
        lines.append(
            f"  {one['file']:<40} {one['bytes'] / 2**20:8.1f} MiB  cosine ≥ {kept['least_cosine']:.5f}  "
            f"retrieval kept {kept['retrieval_kept']:.4f}"
        )
        lines += [f"    {note}" for note in one.get("notes", ())]
    return "\n".join(lines)
