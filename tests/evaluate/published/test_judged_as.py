"""Protects published scores: a model judged as one of mteb's list gets what mteb gives that one, and nothing silently.

The measure is mteb's own wrapper of the model, around an encoder that notes what it is asked to put before texts.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mteb
import numpy as np
import pytest
from mteb.models.abs_encoder import get_prompt_name
from mteb.models.instruct_wrapper import InstructSentenceTransformerModel
from mteb.types import PromptType
from tokenizers import processors
from transformers import PreTrainedTokenizerFast

from polyglossa.artifact import Artifact
from polyglossa.embedding.state_sources import EncoderSource
from polyglossa.errors import RecipeError
from polyglossa.evaluate.models.conditions import prompts_of, read_conditions
from polyglossa.evaluate.models.judged_as import report_conditions
from polyglossa.evaluate.models.sources import open_source
from polyglossa.evaluate.models.spec import Conditions, ModelSpec
from polyglossa.evaluate.plan import PlannedTask
from polyglossa.evaluate.standalone import evaluate_model, model_spec, summary_table
from polyglossa.evaluate.tasks.named import plan_named_tasks
from polyglossa.evaluate.tasks.presets import BENCHMARKS
from polyglossa.recipe.load import validate
from polyglossa.recipe.placement import StagePlacement
from polyglossa.recipe.sections.evaluate import EvaluateConfig, StsTask

F2LLM = "codefuse-ai/F2LLM-v2-0.6B"


@pytest.fixture(scope="module")
def tasks() -> dict[str, Any]:
    """The tasks that F2LLM-v2 is published on, each once."""
    found = [task for name in BENCHMARKS.values() for task in mteb.get_benchmark(name).tasks]
    return {task.metadata.name: task for task in found}


@pytest.fixture(scope="module")
def stock() -> InstructSentenceTransformerModel:
    """Wrapper of mteb with the metadata's arguments; its model notes prompts in place of embedding."""
    meta = mteb.get_model_meta(F2LLM)
    wrapper = object.__new__(InstructSentenceTransformerModel)
    for name in ("instruction_template", "prompts_dict", "apply_instruction_to_passages"):
        setattr(wrapper, name, meta.loader_kwargs[name])
    wrapper.model = SimpleNamespace(encode=lambda texts, *, prompt, **_: [(prompt or "") + text for text in texts])
    return wrapper


class Batches(list[dict[str, list[str]]]):
    """What mteb's data loader is to a wrapper."""

    dataset = SimpleNamespace(features={"text": "string"})


@pytest.mark.filterwarnings("ignore:Prompt type")
def test_every_text_of_all_430_tasks_is_rendered_as_mteb_renders_it_and_passages_are_bare(
    tasks: dict[str, Any], stock: InstructSentenceTransformerModel
) -> None:
    assert len(tasks) == 430
    named = 0
    for name, task in tasks.items():
        found = prompts_of(F2LLM, task)
        assert found is not None
        named += found.origin == "task"
        for role in (None, *PromptType):
            key = get_prompt_name(found.prompts, task.metadata, role)
            ours = (found.prompts[key] if key else "") + "text"
            loaded = Batches([{"text": ["text"]}])
            (theirs,) = stock.encode(loaded, task_metadata=task.metadata, hf_split="", hf_subset="", prompt_type=role)
            assert ours == theirs, (name, role)
            assert role != PromptType.document or ours == "text"
    assert named == len(set(tasks) & set(mteb.get_model_meta(F2LLM).loader_kwargs["prompts_dict"]))


def test_an_instruction_of_its_own_wins_and_other_tasks_get_that_of_their_kind(tasks: dict[str, Any]) -> None:
    found = prompts_of(F2LLM, tasks["Banking77Classification"])
    assert found is not None
    assert found.origin == "task"
    assert found.prompts["Banking77Classification"] == (
        "Instruct: Given an online banking query, find the corresponding intents.\nQuery: "
    )
    kind = prompts_of(F2LLM, tasks["Tatoeba"])
    assert kind is not None
    assert (kind.origin, kind.prompts["Tatoeba"]) == (
        "kind", "Instruct: Retrieve translations of the following text.\nQuery: ",
    )  # fmt: skip


def test_conditions_are_those_of_the_metadata() -> None:
    meta = mteb.get_model_meta(F2LLM)
    found = read_conditions(F2LLM)
    assert found == Conditions(F2LLM, meta.revision, 8192, "bfloat16", ends_texts=True, instructs=True)


def test_a_revision_that_differs_is_told_by_name_or_by_the_hubs_folder() -> None:
    other = "0" * 40
    for found in (read_conditions(f"{F2LLM}@{other}"), read_conditions(F2LLM, f"/cache/x/snapshots/{other}/")):
        (line,) = found.notices
        assert f"not {other}; it is used all the same" in line
        assert found.max_tokens == 8192
    assert read_conditions(F2LLM, f"/cache/x/snapshots/{found.revision}").notices == ()


def test_a_model_that_mteb_does_not_know_is_judged_in_its_own_ways_and_told() -> None:
    found = read_conditions("codefuse-ai/F2LLM-v2-0.7B")
    assert (found.revision, found.max_tokens, found.dtype) == (None, None, None)
    (line,) = found.notices
    assert "knows no model 'codefuse-ai/F2LLM-v2-0.7B'" in line
    assert "the model's own prompts, longest text and precision are used instead" in line
    assert "Did you mean" in line


def test_a_model_that_mteb_runs_by_other_code_is_told() -> None:
    (line,) = read_conditions("voyageai/voyage-3").notices
    assert "by code of its own" in line


def test_a_task_without_any_instruction_says_what_is_used_instead() -> None:
    (planned,) = plan_named_tasks(EvaluateConfig(heldout=(), tasks=("SummEvalFrSummarization.v2",), judged_as=F2LLM))
    (line,) = planned.notices
    assert "mteb's default of it is used" in line
    (named,) = plan_named_tasks(EvaluateConfig(heldout=(), tasks=("Banking77Classification",), judged_as=F2LLM))
    assert (named.notices, named.own_prompt) == ((), True)


def test_what_a_device_or_a_model_cannot_keep_is_told() -> None:
    conditions = Conditions(F2LLM, "r", 8192, "bfloat16", ends_texts=True, instructs=True)
    spec = ModelSpec("a/b", "1", path="x", dtype="float32", conditions=conditions)
    planned = [PlannedTask(name, prompts={}, own_prompt=False) for name in ("a", "b", "c", "d")]
    told = report_conditions(spec, 512, planned)
    assert told["max_tokens"] == 8192
    length, precision, kinds = told["notices"]
    assert "positions for 512 tokens" in length
    assert "computed in float32, not bfloat16" in precision
    assert "a, b, c and 1 more" in kinds
    endpoint = ModelSpec("a/b", "1", endpoint="http://x/v1", conditions=conditions)
    assert "the endpoint's own" in report_conditions(endpoint, None, [])["notices"][0]


def test_texts_are_read_to_the_published_length_and_ended_whatever_the_directory_says(model: Artifact) -> None:
    conditions = Conditions(F2LLM, "r", 150, "float32", ends_texts=True, instructs=True)
    spec = ModelSpec("a/b", "1", path=model.at("model"), max_tokens=16)
    source = open_source(spec.judged_under(conditions))
    assert isinstance(source, EncoderSource)
    (tokens,) = source.encoder.tokenize(["ka ro mi " * 400])
    assert (len(tokens), tokens[-1]) == (150, source.encoder.tokenizer.eos_token_id)
    tokenizer: PreTrainedTokenizerFast = source.encoder.tokenizer
    tokenizer.backend_tokenizer.post_processor = processors.ByteLevel()
    source.read_as(max_tokens=1 << 20, ends_texts=True)
    (tokens,) = source.encoder.tokenize(["ka"])
    assert tokens[-1] == tokenizer.eos_token_id
    assert source.max_tokens == source.encoder.description.longest


def test_length_and_precision_are_not_given_beside_it() -> None:
    with pytest.raises(RecipeError, match="leave `max_tokens` and `dtype` out"):
        validate(EvaluateConfig, {"judged_as": F2LLM, "max_tokens": 512}, "evaluate")


def test_a_directory_is_judged_so_and_the_summary_says_it(model: Artifact, tmp_path: Path, ray_local: None) -> None:
    rows = [f'{{"sentence1": "ka {row}", "sentence2": "ro {row % 3}", "score": {row % 5}}}' for row in range(12)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(rows))
    local = StsTask(kind="sts", name="pairs", path=str(tmp_path / "pairs.jsonl"))
    config = EvaluateConfig(heldout=(), local=(local,), resamples=100, judged_as=F2LLM)
    done = evaluate_model(model_spec(model.at("model"), config), config, None, str(tmp_path), StagePlacement(workers=1))
    summary = done.read_json("summary.json")
    assert summary["judged_as"]["model"] == F2LLM
    assert any("positions for" in line for line in summary["judged_as"]["notices"])
    assert "mteb has no such task" in summary["tasks"]["pairs"]["notices"][0]
    assert f"judged as {F2LLM}" in str(summary_table(summary).title)
    assert np.isfinite(summary["mean"])
