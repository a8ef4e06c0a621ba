"""Choose the prompts of a task's texts, under the names by which mteb looks them up.

What a model directory pins wins: scores must reproduce with it alone. A model that learned instructions but pins
nothing for a kind of task gets the default of that kind. A model that is judged as one of mteb's list (`judged_as`)
gets that one's prompts, task by task, and comes here with tasks alone that mteb does not have.
"""

from collections.abc import Mapping

from polyglossa.model.instructions import render

BY_TYPE = {
    "STS": "Retrieve semantically similar text.",
    "BitextMining": "Retrieve translations of the following text.",
    "Classification": "Classify the topic of the given text.",
    "MultilabelClassification": "Classify the topic of the given text.",
    "Clustering": "Classify the topic of the given text.",
    "PairClassification": "Retrieve semantically entailed text.",
    "query": "Given a question, retrieve passages that can help answer the question.",
}
"""mteb's task types, and `query` for every kind of search → instruction."""


def prompts_for(
    pinned: Mapping[str, str], own: Mapping[str, str | None], *, instructed: bool, search: bool
) -> dict[str, str]:
    """Gather the prompts of a run.

    Args:
        pinned: prompts of the model directory.
        own: task name → instruction that its recipe gives, None where it gives none.
        instructed: whether the model reads instructions at all; if not, no text gets one.
        search: whether the tasks in `own` are searches: their documents stay bare then.

    Returns:
        Prefix by the name that mteb looks for.
    """
    if not instructed:
        return dict(pinned)
    prompts = {name: render("", instruction) for name, instruction in BY_TYPE.items()} | {"document": ""} | dict(pinned)
    for name, instruction in own.items():
        if instruction is not None and search:
            prompts |= {f"{name}-query": render("", instruction), f"{name}-document": ""}
        elif instruction is not None:
            prompts[name] = render("", instruction)
    return prompts
