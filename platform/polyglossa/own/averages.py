"""Judge averages of a trained model and the one it came from: on one's own validation rows, and on sets elsewhere.

Small samples suffice: shares are compared on the same texts.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from polyglossa.artifact import Artifact
from polyglossa.evaluate.scoring.retrieval import heldout_score
from polyglossa.evaluate.tasks.heldout import HeldoutSet, read_heldout
from polyglossa.merge.weights import average
from polyglossa.model.encoder import Encoder, finish
from polyglossa.model.instructions import pinned_prompts
from polyglossa.objectives.ranking import ndcg_at_10
from polyglossa.storage import local_folder

_DOCUMENTS = 3
"""Documents searched for each query of a sample."""


def judge_average(
    share: float,
    model: str,
    start: str,
    folder: str,
    corpus: Artifact,
    elsewhere: Sequence[str],
    queries: int,
    threads: int,
) -> dict[str, float]:
    """Score one average; a share of 1 is the trained model, of 0 the one it came from.

    Args:
        share: of the trained model.
        model: its directory.
        start: directory of the one it came from.
        folder: what `init` wrote.
        corpus: holds the sets elsewhere.
        elsewhere: their names.
        queries: of validation, and of each set.
        threads: torch threads.

    Returns:
        `share`, and nDCG@10 or accuracy as `own` and `elsewhere`.
    """
    torch.set_num_threads(threads)
    with ExitStack() as stack:
        ours, theirs = (stack.enter_context(local_folder(one)) for one in (model, start))
        if share in (0.0, 1.0):
            encoder = Encoder.load(ours if share else theirs)
        else:
            encoder = average("linear", [ours, theirs], [share, 1 - share])
    sets = [sampled(read_heldout(corpus, name), queries) for name in elsewhere]
    others = [heldout_score(one, encoder, instructed=False) for one in sets]
    return {"share": share, "own": _validation(encoder, Path(folder), queries), "elsewhere": sum(others) / len(others)}


def sampled(heldout: HeldoutSet, queries: int) -> HeldoutSet:
    """Take some queries of a set, evenly spread, with the documents that answer them and some others."""
    asked = _spread(heldout.queries, queries)
    wanted = {one for ids in asked["positive_doc_ids"].to_pylist() for one in ids}
    ids = heldout.corpus["doc_id"].to_pylist()
    step = max(1, len(ids) // (_DOCUMENTS * queries))
    kept = [place for place, name in enumerate(ids) if name in wanted or place % step == 0]
    corpus = heldout.corpus.take(pa.array(kept))
    return HeldoutSet(
        heldout.name,
        heldout.task_type,
        heldout.instruction,
        heldout.metric,
        heldout.revision,
        asked,
        corpus,
    )


def _spread(table: pa.Table, count: int) -> pa.Table:
    step = max(1, len(table) // count)
    return table.take(pa.array(list(range(0, len(table), step))[:count]))


def _validation(encoder: Encoder, folder: Path, count: int) -> float:
    """Mean nDCG@10 over sources of validation queries, among their answers and some training answers."""
    scores = []
    for file in sorted((folder / "train").glob("*.parquet")):
        table = pq.read_table(file, columns=["query", "passage", "group", "split"])
        rows = table.to_pylist()
        asked = [row for row in rows if row["split"] == "validation"][:count]
        if not asked:
            continue
        step = max(1, len(rows) // (_DOCUMENTS * count))
        others = [text for row in rows[::step] for text in row["passage"]]
        answers = [text for row in asked for text in row["passage"]]
        texts = list(dict.fromkeys([*answers, *others]))
        groups = {text: row["group"] for row in rows for text in row["passage"]}
        place = {text: number for number, text in enumerate(texts)}
        query_prompt, document_prompt = pinned_prompts(encoder.prompts)
        query_QD = finish(encoder.embed([query_prompt + row["query"] for row in asked]))
        document_ND = finish(encoder.embed([document_prompt + text for text in texts]))
        right = [
            [place[text] for text in row["passage"]]
            if row["group"] is None
            else [number for text, number in place.items() if groups.get(text) == row["group"] and text != row["query"]]
            for row in asked
        ]
        scores.append(float(ndcg_at_10(query_QD, document_ND, right).mean()))
    return sum(scores) / len(scores) if scores else 0.0
