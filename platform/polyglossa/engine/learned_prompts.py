"""The prompts that a training taught, in the names by which sentence-transformers, mteb and the endpoint choose one.

A stage that trains with instructions leaves them with the model: by source, by kind of task, a default for queries, and
none for documents. Then `encode_query`, `prompt_name=…`, `input_type` and an evaluation embed what the training read.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from polyglossa.data.pack_index import PackedSource
from polyglossa.model.instructions import instruction_prompt

DEFAULT_PROMPT = "document"
"""Prompt of texts for which none is named: documents stay bare, unless they were trained behind one."""
_BY_TASK: Mapping[str, tuple[str, ...]] = {
    "retrieval": ("query", "Retrieval-query"),
    "bitext": ("BitextMining",),
    "clustering": ("Clustering",),
    "classification": ("Classification", "MultilabelClassification"),
    "sts": ("STS", "PairClassification"),
}
"""Task of a source → mteb's names for texts of the kind."""


def learned_prompts(sources: Sequence[PackedSource], names: Sequence[str] | None) -> dict[str, str]:
    """Gather the prompts of a training.

    Args:
        sources: of the pack: name, task, examples, and how many of them each instruction has.
        names: sources that were trained on; None means all.

    Returns:
        Prefix by name: every source's own (the one of most of its examples), every kind of task's, `query` and
        `document`, which are what most documents had (of all tasks, of searches): an instruction, or nothing; empty
        where no example had an instruction.
    """
    by_source: dict[str, str] = {}
    by_task: dict[str, Counter[str]] = {}
    every, documents, searched = Counter[str](), Counter[str](), Counter[str]()
    for source in sources:
        if names is not None and source.name not in names:
            continue
        asked = Counter(source.instructions)
        behind = Counter(source.document_instructions)
        behind[""] = source.examples - behind.total()
        documents.update(behind)
        if source.task == "retrieval":
            searched.update(behind)
        if not asked:
            continue
        by_source[source.name] = _most(asked)
        by_task.setdefault(source.task, Counter()).update(asked)
        every.update(asked)
    if not every:
        return {}
    prompts = {"query": instruction_prompt(_most(every))}
    for task, asked in by_task.items():
        prompts |= dict.fromkeys(_BY_TASK[task], instruction_prompt(_most(asked)))
    prompts |= {name: instruction_prompt(instruction) for name, instruction in by_source.items()}
    document, found = _most(documents), _most(searched or documents)
    return prompts | {"document": instruction_prompt(document), "Retrieval-document": instruction_prompt(found)}


def _most(counted: Counter[str]) -> str:
    """Return the instruction of most examples; of equal ones the first in order."""
    return min(counted, key=lambda instruction: (-counted[instruction], instruction))
