"""Benchmark of distillation: what the teacher store costs a training step, and what a live teacher would. CPU, no Ray.

    python jobs/bench/distill.py --out runs/bench/distill.json          # make bench-distill

One student, one pack, one objective. `plain` trains without a teacher, `stored` reads the teacher's states beside the
tokens, `live` runs the teacher in every step. The three take turns for a few steps at a time, so that a machine that
slows down slows all of them; a figure is the median of its steps. `losses_differ` says by how much, relative, the first
losses of stored and live differ: float16 of the store against the float32 of the live states.
"""

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from shared.packs import write_index

ROUNDS, STEPS, WARM, BATCH, BUNDLE, LONGEST = 4, 6, 2, 128, 256, 128
VOCABULARY = 8192
STUDENT = {"hidden": 128, "mlp": 512, "layers": 2, "heads": 4, "kv_heads": 2, "head_dim": 32}
TEACHER = {"hidden": 256, "mlp": 1040, "layers": 3, "heads": 4, "kv_heads": 2, "head_dim": 64}


def main() -> None:
    """Prepare models, pack and store, time the variants in turns, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default=None, help="JSON file for the figures")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        figures = bench(Path(folder))
    figures |= {"threads": options.threads}
    print(json.dumps(figures))
    if options.out:
        Path(options.out).parent.mkdir(parents=True, exist_ok=True)
        Path(options.out).write_text(json.dumps(figures, indent=1))


def bench(folder: Path) -> dict[str, float]:
    """Run the variants in turns; returns the figures that distillation is held to."""
    student, teacher = (write_model(folder / name, shape) for name, shape in (("s", STUDENT), ("t", TEACHER)))
    write_pack(folder / "pack")
    write_store(folder)
    runs = {name: _Run(name, folder) for name in ("plain", "stored", "live")}
    for turn in range(ROUNDS):
        for run in runs.values():
            run.turn(turn)
    median = {name: statistics.median(run.seconds) for name, run in runs.items()}
    pairs = zip(runs["stored"].first_losses, runs["live"].first_losses, strict=True)
    return {
        "stored_over_plain_step": median["stored"] / median["plain"],
        "live_over_stored_step": median["live"] / median["stored"],
        **{f"{name}_step_seconds": seconds for name, seconds in median.items()},
        "teacher_over_student_parameters": teacher / student,
        "losses_differ": max(abs(stored - live) / abs(live) for stored, live in pairs),
    }


def write_model(folder: Path, shape: dict[str, int]) -> int:
    """Write an untrained model; returns its parameters without the table."""
    from polyglossa.model.directory import build_model, save_model_directory
    from polyglossa.model.forward import TextModel
    from polyglossa.model.tokenizer import train_tokenizer

    tokenizer = train_tokenizer(["a"], vocabulary=300, max_tokens=LONGEST)
    backbone = build_model(
        **shape,
        vocabulary=VOCABULARY,
        max_tokens=LONGEST,
        eos=tokenizer.eos_token_id,
        padding=tokenizer.pad_token_id,
        seed=0,
    )
    widths = (shape["hidden"],)
    save_model_directory(str(folder), TextModel.of(backbone), tokenizer, max_tokens=LONGEST, matryoshka_widths=widths)
    return sum(parameter.numel() for parameter in backbone.layers.parameters())


def write_pack(folder: Path) -> None:
    """Write random texts of real lengths: log-normal, 24 tokens in the median, one in twenty above 100."""
    from polyglossa.records import TOKEN_BUNDLE

    (folder / "bundles").mkdir(parents=True)
    generator = np.random.default_rng(0)
    sizes = []
    with pq.ParquetWriter(folder / "bundles" / "texts.parquet", TOKEN_BUNDLE) as writer:
        for number in range(-(-(ROUNDS * STEPS * BATCH) // BUNDLE)):
            lengths = np.clip(np.exp(generator.normal(np.log(24), 0.87, 2 * BUNDLE)), 4, LONGEST).astype(int)
            tokens = [[*generator.integers(300, VOCABULARY, length - 1).tolist(), 1] for length in lengths]
            bundle = {
                "source": "texts",
                "task": "retrieval",
                "bundle": number,
                "tokens": tokens,
                "text_ids": [f"{number:08d}{row:08d}".encode() for row in range(2 * BUNDLE)],
                "pair_ids": [f"{number:08d}{row:08d}".encode() for row in range(BUNDLE)],
                "query": list(range(BUNDLE)),
                "positive": list(range(BUNDLE, 2 * BUNDLE)),
                "negatives": [[] for _ in range(BUNDLE)],
                "group": list(range(number * BUNDLE, (number + 1) * BUNDLE)),
                "positive_score": [float("nan")] * BUNDLE,
            }
            writer.write_table(pa.Table.from_pylist([bundle], schema=TOKEN_BUNDLE))
            sizes.append({"examples": BUNDLE, "texts": 2 * BUNDLE, "tokens": int(lengths.sum())})
    write_index(folder, "texts", sizes, max_tokens=LONGEST)


def write_store(folder: Path) -> None:
    """Write the teacher's states of the pack's texts, cut to the student's width, as the distill stage does."""
    from polyglossa.distill.store import Remembered, store_schema, teacher_bundles
    from polyglossa.distill.teacher import Teacher
    from polyglossa.recipe.sections.teacher import TeacherConfig

    config = TeacherConfig(width=STUDENT["hidden"], dtype="float32")
    teacher = Teacher(str(folder / "t"), config, torch.get_num_threads(), gpu=False)
    (folder / "store" / "bundles").mkdir(parents=True)

    def bundles() -> Iterator[pa.Table]:
        file = pq.ParquetFile(folder / "pack" / "bundles" / "texts.parquet")
        for group in range(file.num_row_groups):
            yield file.read_row_group(group, columns=["source", "bundle", "text_ids", "tokens"])

    with pq.ParquetWriter(folder / "store" / "bundles" / "texts.parquet", store_schema(config.stored)) as writer:
        rows = teacher_bundles(bundles(), teacher.states, remembered=Remembered(1 << 26), window_texts=4096)
        for row in rows:
            writer.write_table(row)


@dataclass
class _Run:
    """One variant: a student that goes on training where its last turn ended."""

    name: str
    folder: Path
    seconds: list[float] = field(default_factory=list)
    """Of every step but the first ones of a turn."""
    first_losses: list[float] = field(default_factory=list)
    """Of the first turn's first step, at the untrained weights."""

    def __post_init__(self) -> None:
        from polyglossa.engine.backends.plain import PlainBackend
        from polyglossa.engine.embedder import Embedder
        from polyglossa.engine.objective import build_objective
        from polyglossa.engine.online_teacher import OnlineTeachers
        from polyglossa.engine.stage_spec import ObjectiveSpec, OptimizerSettings
        from polyglossa.engine.step import Budget
        from polyglossa.model.directory import load_model
        from polyglossa.recipe.sections.train import StageConfig

        self.stage = StageConfig(
            global_batch=BATCH, steps=ROUNDS * STEPS, max_tokens=LONGEST, learning_rate=1e-6, dtype="float32"
        )
        settings = OptimizerSettings(betas=(0.9, 0.98), epsilon=1e-8, weight_decay=0.01, clip=1.0)
        embedder = Embedder(load_model(str(self.folder / "s")), dtype=self.stage.dtype)
        self.backend = PlainBackend(embedder, settings=settings)
        self.budget = Budget(self.stage.chunk_tokens, 1 << 20)
        self.objective: Any = build_objective(
            ObjectiveSpec.of(self.stage.objective),
            width=STUDENT["hidden"],
            distillation_weight=0.0 if self.name == "plain" else 1.0,
        )
        self.teachers = None
        if self.name == "live":
            uris, widths = [str(self.folder / "t")], [STUDENT["hidden"]]
            self.teachers = OnlineTeachers(uris, widths, dtype=self.stage.dtype, device="cpu", budget=self.budget)

    def turn(self, number: int) -> None:
        """Train the next steps."""
        from polyglossa.data.bundles import TeacherStore
        from polyglossa.data.prefetch import PrefetchedBatches
        from polyglossa.data.stream import FeedSpec, local_batches
        from polyglossa.engine.loop import run_loop

        stores: Sequence[Any] = [TeacherStore(str(self.folder / "store"))] if self.name == "stored" else ()
        spec = FeedSpec.of_stage(self.stage, str(self.folder / "pack"), stores)
        start = number * STEPS
        batches = PrefetchedBatches(local_batches(spec, start=start, stop=start + STEPS))
        records: list[Any] = []
        run_loop(
            self.backend,
            (batch if self.teachers is None else self.teachers.teach(batch) for batch in batches),
            self.objective,
            rate=lambda step: 1e-6,
            budget=self.budget,
            callbacks=[_Keep(records)],
        )
        self.seconds += [record.seconds for record in records[WARM:]]
        self.first_losses = self.first_losses or [records[0].loss]


@dataclass(frozen=True)
class _Keep:
    records: list[Any]

    def before_update(self, *_: Any) -> None:
        """Let the update happen."""

    def after_step(self, record: Any) -> None:
        """Keep the figures, without the loss's terms."""
        self.records.append(replace(record, terms={}))


if __name__ == "__main__":
    main()
