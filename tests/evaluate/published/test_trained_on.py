"""Protects the marks of peers: which tasks of a benchmark a published model is not zero-shot on, by mteb's own list."""

import mteb

from polyglossa.evaluate.tasks.trained_on import PEERS, match, trained_on
from polyglossa.recipe.sections.evaluate import EvaluateConfig

CODE = "MTEB(Code, v1)"


def test_every_size_of_f2llm_v2_is_marked_on_cosqa_and_the_other_code_sets_that_it_learned_from() -> None:
    found = trained_on(EvaluateConfig(heldout=(), benchmarks=("code",)))
    assert list(found) == [CODE]
    assert set(found[CODE]) == set(PEERS)
    for marks in found[CODE].values():
        assert marks["tasks"] == ["CodeFeedbackMT", "CodeFeedbackST", "CosQA", "StackOverflowQA", "SyntheticText2SQL"]
        assert marks["likely"] == ["CodeSearchNetRetrieval"]


def test_what_mteb_counts_is_what_is_counted() -> None:
    benchmark = mteb.get_benchmark("MTEB(eng, v2)")
    tasks = [task.metadata.name for task in benchmark.tasks]
    meta = mteb.get_model_meta(PEERS[0])
    training = meta.get_training_datasets()
    assert training is not None
    share = 100 - 100 * len(match(tasks, training)["tasks"]) / len(tasks)
    told = meta.zero_shot_percentage(benchmark.tasks)
    assert told is not None
    assert abs(share - told) <= 1


def test_names_that_differ_by_kind_language_or_version_alone_are_likely_the_same_data() -> None:
    training = ("SIB200", "PawsX", "cMedQAv2", "MLDR")
    tasks = ("SIB200ClusteringS2S", "PawsXPairClassification", "CMedQAv2-reranking", "MultiLongDocRetrieval", "SIB20")
    assert match(tasks, training) == {
        "tasks": [],
        "likely": ["CMedQAv2-reranking", "PawsXPairClassification", "SIB200ClusteringS2S"],
    }
