"""The last stage of a run: start the endpoint, ask it real questions with a real client, and stop it again.

The check fails the run where the HTTP answer, the encoder and sentence-transformers (reading the same directory) do not
agree. Its artifact holds the figures and one cross-lingual search; `jobs/serve.py` keeps the endpoint up.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import openai
import ray

from polyglossa.artifact import Artifact, Draft
from polyglossa.errors import PolyglossaError
from polyglossa.recipe import StagePlacement
from polyglossa.recipe.sections.serve import ServeConfig
from polyglossa.runtime.console import track
from polyglossa.runtime.nodes import stage_precision
from polyglossa.runtime.ports import free_port
from polyglossa.runtime.ray_tasks import results
from polyglossa.serving.questions import Questions
from polyglossa.serving.settings import read_settings
from polyglossa.storage import local_folder

STAGE = "serve"
REVISION = 1

_PARITY_TEXTS = 24
_SHOWN_QUERIES = 8
_LEAST_COSINE = {"float32": 0.9999, "bfloat16": 0.999, "int8": 0.99}


def run(config: ServeConfig, inputs: Mapping[str, Artifact], draft: Draft, placement: StagePlacement) -> None:
    """Check the endpoint of a family.

    Args:
        config: the recipe's `serve` section.
        inputs: `model:<member>` for each served member; `corpus` for the texts that are asked.
        draft: gets `check.json` (cosines, seconds, `shown`: a search as text).
        placement: CPUs and threads of each member's replica.

    Raises:
        PolyglossaError: the endpoint answers with other vectors than the encoder or sentence-transformers.
    """
    from polyglossa.serving.lifecycle import running_application

    models = {role.partition(":")[2]: model.at("model") for role, model in inputs.items() if role.startswith("model:")}
    precision = stage_precision(config.dtype, placement)
    draft.precision, config = precision.plain(), config.changed(dtype=precision.dtype)
    questions = Questions.read(inputs["corpus"])
    settings = application_settings(config, models, placement)
    started = time.monotonic()
    with (
        track("serve", total=len(models), unit="members") as bar,
        running_application(settings, port=free_port()) as url,
    ):
        start_seconds = time.monotonic() - started
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        cosines = {}
        for member, path in models.items():
            texts = questions.queries[:_PARITY_TEXTS]
            cosines[member] = _check_parity(client, member, path, texts, config, placement)
            bar.advance()
        shown = _search(client, next(iter(models)), questions)
    draft.write_json({"least_cosine": cosines, "start_seconds": start_seconds, "shown": shown}, "check.json")
    draft.count(members=len(models), least_cosine=min(cosines.values()))


def application_settings(config: ServeConfig, models: Mapping[str, str], placement: StagePlacement) -> dict[str, Any]:
    """Arguments of `serve.app:build` for a family: `models` maps a member's name to its model directory."""
    common = {
        "dtype": config.dtype, "threads": placement.threads, "cpus": placement.cpus, "gpus": placement.gpus,
        "labels": placement.labels, "engine": config.engine, "colocate": config.colocate,
    }  # fmt: skip
    members = [{"name": name, "path": path, **common} for name, path in models.items()]
    return {"members": members, "aliases": dict(config.aliases)}


def check_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings that the application will take.

    Raises:
        UserError: one line that names the setting.
    """
    read_settings(settings)
    return settings


def _check_parity(
    client: openai.OpenAI,
    member: str,
    path: str,
    texts: Sequence[str],
    config: ServeConfig,
    placement: StagePlacement,
) -> float:
    """Return the least cosine of HTTP answers to our encoder and sentence-transformers, at full and half width.

    The models are opened in a task with a member's share of the stage, one after the other: the driver holds answers.
    """
    width = len(_embed(client, member, texts[:1], None)[0])
    answered = {asked: _embed(client, member, texts, asked) for asked in (width, width // 2)}
    # It takes no CPU of Ray's: on a small machine the members' replicas hold them all.
    task = ray.remote(_least_cosine).options(**{**placement.ray_options, "num_cpus": 0, "num_gpus": 0})
    least: float = results([task.remote(path, list(texts), answered, config.dtype or "float32")])[0]
    promised = _LEAST_COSINE[config.dtype or "float32"]
    if least < promised:
        raise PolyglossaError(
            f"serve: {member} answers with vectors of cosine {least:.6f} to those of its directory {path}; "
            f"at least {promised} is promised. The endpoint and the directory disagree."
        )
    return least


def _least_cosine(uri: str, texts: Sequence[str], answered: Mapping[int, np.ndarray], dtype: str) -> float:
    """Least cosine of answers, by width, to the vectors that the directory gives by both readers."""
    from sentence_transformers import SentenceTransformer

    from polyglossa.model.encoder import Encoder

    with local_folder(uri) as path:
        encoder = Encoder.load(path, dtype=dtype)
        found = [_cosine(answer, encoder.encode(texts, width=width)) for width, answer in answered.items()]
        del encoder
        theirs = SentenceTransformer(path, device="cpu")
        for width, answer in answered.items():
            vectors = theirs.encode(list(texts), normalize_embeddings=True, show_progress_bar=False, truncate_dim=width)
            found.append(_cosine(answer, vectors))
    return min(found)


def _cosine(one_NW: np.ndarray, other_NW: np.ndarray) -> float:
    return float((one_NW * other_NW).sum(axis=1).min())


def _embed(
    client: openai.OpenAI, member: str, texts: Sequence[str], width: int | None, instruction: str | None = None
) -> np.ndarray:
    """Ask for vectors; without an instruction the model's default prompt goes before each text."""
    body = {"instruction": instruction}
    dimensions = openai.omit if width is None else width
    answer = client.embeddings.create(model=member, input=list(texts), dimensions=dimensions, extra_body=body)
    return np.array([item.embedding for item in answer.data], dtype=np.float32)


def _search(client: openai.OpenAI, member: str, questions: Questions) -> str:
    """Search the held-out documents for a few queries, all through the endpoint, and lay the answers out as text."""
    asked = questions.queries[:_SHOWN_QUERIES]
    width = len(client.embeddings.create(model=member, input=asked[0]).data[0].embedding)
    document_DW = _embed(client, member, questions.documents, width, "")
    query_QW = _embed(client, member, asked, width, questions.instruction or "")
    score_QD = query_QW @ document_DW.T
    lines = [f"Search over {len(questions.documents)} {questions.origin}, answered by the endpoint ({member}):"]
    for query, language, score_D in zip(asked, questions.languages, score_QD, strict=False):
        best = int(score_D.argmax())
        lines.append(f"  {language:<10} {query[:40]:<40} → {questions.documents[best][:40]:<40} {score_D[best]:.2f}")
    return "\n".join(lines)
