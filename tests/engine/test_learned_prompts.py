"""Prompts travel with the model: what training rendered, every reader of the directory renders."""

from polyglossa.data.pack_index import PackedSource
from polyglossa.engine.learned_prompts import learned_prompts


def entry(name: str, task: str, instructions: dict[str, int], documents: dict[str, int] | None = None) -> PackedSource:
    return PackedSource(
        name=name, task=task, in_batch=True, examples=max(100, sum(instructions.values())), negatives=0,
        instructions=instructions, document_instructions=documents or {}, bundles=(), files=(), validation=(),
        validation_files=(),
    )  # fmt: skip


def test_prompts_are_by_source_by_task_and_a_default_for_queries() -> None:
    sources = [
        entry("faq", "retrieval", {"Find the answer.": 90, "Find it.": 10}),
        entry("wiki", "retrieval", {"Find the page.": 30}),
        entry("topics", "classification", {"Name the topic.": 200}),
        entry("bare", "sts", {}),
    ]
    prompts = learned_prompts(sources, None)
    assert prompts["faq"] == prompts["Retrieval-query"] == "Instruct: Find the answer.\nQuery: "
    assert prompts["wiki"] == "Instruct: Find the page.\nQuery: "
    assert prompts["Classification"] == "Instruct: Name the topic.\nQuery: "
    assert prompts["query"] == "Instruct: Find the answer.\nQuery: "  # searches decide, however many rows others have
    assert prompts["document"] == prompts["Retrieval-document"] == ""
    assert not {"STS", "bare"} & set(prompts)


def test_sources_that_were_not_trained_on_leave_nothing() -> None:
    sources = [entry("faq", "retrieval", {"Find it.": 1}), entry("pairs", "bitext", {"Translate.": 2})]
    assert set(learned_prompts(sources, ["pairs"])) == {
        "query", "BitextMining", "pairs", "document", "Retrieval-document",
    }  # fmt: skip
    assert learned_prompts(sources, []) == learned_prompts([entry("faq", "retrieval", {})], None) == {}


def test_documents_that_were_trained_behind_a_prompt_keep_it() -> None:
    prompts = learned_prompts([entry("faq", "retrieval", {"Find it.": 100}, {"A passage.": 60})], None)
    assert prompts["document"] == "Instruct: A passage.\nQuery: "


def test_documents_stay_bare_where_most_of_them_were() -> None:
    code, asked = entry("code", "retrieval", {"Find it.": 50}), {"Translate.": 200}
    prompts = learned_prompts([code, entry("names", "bitext", asked, {"Translate.": 60})], None)
    assert prompts["document"] == prompts["Retrieval-document"] == ""
    prompts = learned_prompts([code, entry("names", "bitext", asked, {"Translate.": 160})], None)
    assert prompts["document"] == "Instruct: Translate.\nQuery: "
    assert prompts["Retrieval-document"] == ""  # no searched document had it
