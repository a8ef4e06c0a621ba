"""What every variant of the training benchmark shares: which steps it times, real pairs, a small model, the pack."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from shared.packs import write_index

from polyglossa.runtime.precision import Precision, device_facts

DTYPE = Precision.decide("bfloat16", [device_facts("cpu")]).dtype
"""What every variant computes in."""
LONGEST = 256
TEMPERATURE = 0.05
_BUNDLE_ROWS = 256


@dataclass(frozen=True)
class Steps:
    """The steps that one process runs."""

    batch: int
    """Global batch."""
    first: int
    """Number of the first step: repeats read other rows."""
    warm: int
    """Steps before the clock starts."""
    timed: int

    @property
    def stop(self) -> int:
        """Number of the step after the last."""
        return self.first + self.warm + self.timed


def prepare(source: Path, folder: Path, count: int) -> None:
    """Write `count` rows, a tokenizer trained on them, a model of 7 M parameters and the pack that the engine reads."""
    from polyglossa.model.directory import build_model, save_model_directory
    from polyglossa.model.forward import TextModel
    from polyglossa.model.tokenizer import train_tokenizer

    rows = _rows(source, count)
    tokenizer = train_tokenizer((text for row in rows for text in row), vocabulary=16_384, max_tokens=LONGEST)
    backbone = build_model(
        hidden=256,
        mlp=768,
        layers=4,
        heads=4,
        kv_heads=2,
        head_dim=64,
        vocabulary=len(tokenizer),
        max_tokens=LONGEST,
        eos=tokenizer.eos_token_id,
        padding=tokenizer.pad_token_id,
        seed=0,
    )
    save_model_directory(
        str(folder / "model"), TextModel.of(backbone), tokenizer, max_tokens=LONGEST, matryoshka_widths=(256,)
    )
    (folder / "rows.json").write_text(json.dumps(rows, ensure_ascii=False))
    _write_pack(folder / "pack", rows, tokenizer)


def _rows(source: Path, count: int) -> list[tuple[str, str]]:
    """Take one query of each passage, over all files, in an order that a hash of the text decides."""
    from polyglossa.records import text_id

    passages: dict[str, str] = {}
    for file in sorted(source.glob("*.parquet")):
        table = pq.read_table(file, columns=["query", "passage"])
        for query, passage in zip(table["query"].to_pylist(), table["passage"].to_pylist(), strict=True):
            passages.setdefault(passage, query)
    order = sorted(passages, key=text_id)[:count]
    return [(passages[passage], passage) for passage in order]


def _write_pack(folder: Path, rows: list[tuple[str, str]], tokenizer: Any) -> None:
    from polyglossa.records import TOKEN_BUNDLE, text_id

    (folder / "bundles").mkdir(parents=True)
    sizes = []
    with pq.ParquetWriter(folder / "bundles" / "real.parquet", TOKEN_BUNDLE) as writer:
        for number, start in enumerate(range(0, len(rows), _BUNDLE_ROWS)):
            part = rows[start : start + _BUNDLE_ROWS]
            texts = list(dict.fromkeys(text for row in part for text in row))
            place = {text: index for index, text in enumerate(texts)}
            tokens = tokenizer(texts, truncation=True, max_length=LONGEST)["input_ids"]
            bundle = {
                "source": "real",
                "task": "retrieval",
                "bundle": number,
                "tokens": tokens,
                "text_ids": [text_id(text) for text in texts],
                "pair_ids": [text_id(query + passage) for query, passage in part],
                "query": [place[query] for query, _ in part],
                "positive": [place[passage] for _, passage in part],
                "negatives": [[] for _ in part],
                "group": list(range(start, start + len(part))),
                "positive_score": [float("nan")] * len(part),
            }
            writer.write_table(pa.Table.from_pylist([bundle], schema=TOKEN_BUNDLE))
            sizes.append({"examples": len(part), "texts": len(texts), "tokens": sum(map(len, tokens))})
    write_index(folder, "real", sizes, max_tokens=LONGEST)
