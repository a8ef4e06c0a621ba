"""Arrow schemas of every row that passes between stages, and the ids that tie them together.

A text is stored once (`DOCUMENT`) and referred to by `doc_id`, the 128-bit XXH3 hash of the text itself after
normalisation. Nothing is dropped silently: a dropped row becomes a `REJECT` with its stage and reason.
"""

import pyarrow as pa
import xxhash

ID = pa.binary(16)

TASKS = ("retrieval", "bitext", "clustering", "classification", "sts")
SPLITS = ("train", "validation", "heldout")

DOCUMENT = pa.schema(
    [
        pa.field("doc_id", ID, nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("language", pa.string()),
        pa.field("script", pa.string()),
        pa.field("source", pa.string(), nullable=False),
    ]
)

PAIR = pa.schema(
    [
        pa.field("pair_id", ID, nullable=False),
        pa.field("query", pa.string(), nullable=False),
        pa.field("positive_ids", pa.list_(ID), nullable=False),
        pa.field("task", pa.string(), nullable=False),
        pa.field("instruction", pa.string()),
        pa.field("document_instruction", pa.string()),
        pa.field("group", pa.string()),
        pa.field("label", pa.string()),
        pa.field("score", pa.float32()),
        pa.field("negative_ids", pa.list_(ID)),
        pa.field("split", pa.string(), nullable=False),
        pa.field("language", pa.string()),
        pa.field("language_confidence", pa.float32()),
        pa.field("source", pa.string(), nullable=False),
    ]
)

MINED_PAIR = pa.schema(
    [
        *PAIR,
        pa.field("negative_scores", pa.list_(pa.float32())),
        pa.field("positive_score", pa.float32()),
    ]
)

RESCORED_PAIR = MINED_PAIR.append(pa.field("candidate_scores", pa.list_(pa.float32())))
"""The same where mining re-scored: scores of the row's positives, in order, then of its negatives; null: not mined."""

# One row is one bundle: each distinct rendered text once, examples as indices into `tokens`.
TOKEN_BUNDLE = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("task", pa.string(), nullable=False),
        pa.field("bundle", pa.int32(), nullable=False),  # 0 … bundles of the source − 1
        pa.field("tokens", pa.list_(pa.list_(pa.uint32())), nullable=False),  # [texts][tokens], EOS last
        pa.field("text_ids", pa.list_(ID), nullable=False),  # [texts], hash of the rendered text
        pa.field("pair_ids", pa.list_(ID), nullable=False),  # [examples]
        pa.field("query", pa.list_(pa.int32()), nullable=False),  # [examples], index into tokens
        pa.field("positive", pa.list_(pa.int32()), nullable=False),  # [examples]
        pa.field("negatives", pa.list_(pa.list_(pa.int32())), nullable=False),  # [examples][mined negatives]
        pa.field("group", pa.list_(pa.int64()), nullable=False),  # [examples], rows of one group are no negatives
        pa.field("positive_score", pa.list_(pa.float32()), nullable=False),  # [examples], NaN where not mined
    ]
)
"""One bundle of a pack."""

SCORED_BUNDLE = TOKEN_BUNDLE.append(pa.field("score", pa.list_(pa.float32()), nullable=False))  # [examples], NaN: none
"""The same with the scores that pairs brought (task `sts`), where a training stage asks for them."""

CANDIDATE_SCORES = pa.field("candidate_scores", pa.list_(pa.list_(pa.float32())), nullable=False)
"""[examples][1 + mined negatives], the last column of bundles of re-scored pairs: what a cross-encoder or a judge gave
the positive, then the negatives in their order; NaN where it gave nothing."""

TEXT_BUNDLE = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("bundle", pa.int32(), nullable=False),
        pa.field("text_ids", pa.list_(ID), nullable=False),  # [texts], same order as the token bundle
        pa.field("texts", pa.list_(pa.string()), nullable=False),  # [texts], without any prompt
        pa.field("instructions", pa.list_(pa.string()), nullable=False),  # [texts], null where there is none
        pa.field("queries", pa.list_(pa.bool_()), nullable=False),  # [texts], whether it asks
    ]
)

TEACHER_BUNDLE = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("bundle", pa.int32(), nullable=False),
        pa.field("text_ids", pa.list_(ID), nullable=False),  # [texts], same order as the token bundle
        pa.field("states", pa.list_(pa.list_(pa.float16())), nullable=False),  # [texts][width], raw pooled states
    ]
)

REJECT = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("row", pa.string(), nullable=False),  # the row as JSON, long texts cut
    ]
)


def text_id(text: str) -> bytes:
    """Hash a text to its 16-byte id (XXH3-128, seed 0)."""
    return xxhash.xxh3_128_digest(text.encode("utf-8", "surrogatepass"))


def row_id(*parts: str) -> bytes:
    """Hash an ordered tuple of strings to a 16-byte id; parts cannot run into one another."""
    return xxhash.xxh3_128_digest("\x1f".join(parts).encode("utf-8", "surrogatepass"))
