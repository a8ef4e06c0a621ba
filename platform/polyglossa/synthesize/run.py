"""The `synthesize` stage: choose rows, say what they cost, ask the writer step by step, filter, write pairs.

Answers outlive a run that was stopped, under `<root>/answers/`: what was paid for is not asked again, whatever else of
the recipe changes. The corpus reads the pairs like those of any other source.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import pyarrow.parquet as pq

from polyglossa.artifact import Artifact, Draft, open_storage
from polyglossa.readers.files import list_files
from polyglossa.recipe.placement import StagePlacement
from polyglossa.recipe.sections.outside.synthetic import TranslatedPairs
from polyglossa.recipe.sections.sources import SyntheticSource
from polyglossa.runtime import console
from polyglossa.synthesize.asking import Asked, ask_missing, open_answers
from polyglossa.synthesize.likeness import compare
from polyglossa.synthesize.rows import gather, reject_table, unreadable_rejects
from polyglossa.synthesize.select import select_rows
from polyglossa.synthesize.steps import Plan, Written, keys_of, plan_writing

STAGE = "synthesize"
REVISION = 1


def run(config: SyntheticSource, inputs: Mapping[str, Artifact], draft: Draft, placement: StagePlacement) -> None:
    """Have pairs written.

    Args:
        config: the corpus source.
        inputs: none.
        draft: receives `pairs/part-00000.parquet` (`rows.PAIR_ROW`) and `rejects/`.
        placement: processes that ask, and actors of an encoder that compares.

    Raises:
        DataError: files cannot be read, or too little comes of what is asked for.
        UserError: it would cost more than the recipe allows.
        EndpointError: the endpoint stopped; what it had answered is kept.
    """
    root = draft.uri.rpartition("/artifacts/")[0]
    selection = select_rows(config)
    store = open_answers(root, config.writer)
    plan = plan_writing(config, selection.rows, store)
    console.say(plan.describe(config))
    plan.check_caps(config)
    asked = Asked()
    written = _write(config, plan, root, placement, asked)
    back = config.make.back_translation if isinstance(config.make, TranslatedPairs) else None
    if back is not None:
        compare([one for one in written if one.reason is None], back, root, placement)
    found = {one.assignment: one for one in written}
    pairs, rejects, reasons = gather(config, selection.rows, found)
    for table, place in ((pairs, "pairs"), (rejects, "rejects")):
        filesystem, path = open_storage(draft.at(place, "part-00000.parquet"))
        pq.write_table(table, path, filesystem=filesystem, compression="zstd")
    unread = reject_table(config.name, unreadable_rejects(selection.bad))
    filesystem, path = open_storage(draft.at("rejects", "unreadable.parquet"))
    pq.write_table(unread, path, filesystem=filesystem, compression="zstd")
    languages = pairs.column("language").value_counts().to_pylist()
    draft.write_json({entry["values"]: entry["counts"] for entry in languages}, "languages.json")
    draft.count(
        pairs=len(pairs),
        calls=asked.calls,
        tokens=asked.tokens,
        answers_kept=plan.kept,
        rejects=dict(sorted(reasons.items())),
        rows_in=selection.rows_in,
        rows_chosen=len(selection.rows),
        rows_left=dict(sorted((+selection.left).items())),
    )


def _write(
    config: SyntheticSource, plan: Plan, root: str, placement: StagePlacement, asked: Asked
) -> Sequence[Written]:
    """Ask step by step; an assignment that gets no answer takes no further step."""
    store = open_answers(root, config.writer)
    written = [Written(one) for one in plan.assignments]
    with console.track(f"synthesize: {config.name}", total=plan.calls, unit="calls") as bar:
        for step in plan.steps:
            going = [one for one in written if one.reason is None]
            prompts = [step(one.assignment, one.answers) for one in going]
            ask_missing(prompts, config.writer, store, placement, bar, asked)
            keys = keys_of(prompts)
            for one, key, answer in zip(going, keys.to_pylist(), store.read(keys).to_pylist(), strict=True):
                one.take(answer, "refused_by_writer" if key.hex() in asked.refusals else None)
    return written


def input_fingerprint(config: SyntheticSource) -> str:
    """Hash names, sizes and times of the files that are written from: new files, new pairs."""
    files = [asdict(file) for file in list_files(config.files, f"corpus source {config.name!r}")]
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()[:20]
