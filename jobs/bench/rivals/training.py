"""The training steps that the engine's is measured against: one padded tensor a column, and sentence-transformers."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from shared.training import DTYPE, LONGEST, TEMPERATURE, Steps


def padded(folder: Path, steps: Steps) -> dict[str, float]:
    """(a) One padded tensor for the queries and one for the passages, with an attention mask."""
    from polyglossa.model.directory import load_model
    from polyglossa.model.tokenizer import load_tokenizer

    rows = json.loads((folder / "rows.json").read_text())
    backbone, tokenizer = load_model(str(folder / "model")).backbone.train(), load_tokenizer(str(folder / "model"))
    optimizer = torch.optim.AdamW(backbone.parameters(), lr=1e-4, betas=(0.9, 0.98), weight_decay=0.01, fused=True)

    def embed(texts: list[str]) -> torch.Tensor:
        inputs = tokenizer(texts, truncation=True, max_length=LONGEST, padding=True, return_tensors="pt")
        last_B = inputs["attention_mask"].sum(1) - 1
        hidden_BLD = backbone(**inputs, use_cache=False).last_hidden_state
        return torch.nn.functional.normalize(hidden_BLD[torch.arange(len(texts)), last_B].float(), dim=1)

    def step(number: int) -> None:
        part = rows[number * steps.batch : (number + 1) * steps.batch]
        with torch.autocast("cpu", torch.bfloat16, enabled=DTYPE == "bfloat16"):
            query_QD, passage_QD = embed([row[0] for row in part]), embed([row[1] for row in part])
        scores = query_QD @ passage_QD.T / TEMPERATURE
        torch.nn.functional.cross_entropy(scores, torch.arange(len(part))).backward()
        torch.nn.utils.clip_grad_norm_(backbone.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return _timed(step, steps)


def _timed(step: Callable[[int], None], steps: Steps) -> dict[str, float]:
    for number in range(steps.first, steps.first + steps.warm):
        step(number)
    began = time.perf_counter()
    for number in range(steps.first + steps.warm, steps.stop):
        step(number)
    return {"samples_per_second": steps.timed * steps.batch / (time.perf_counter() - began)}


def sentence_transformers(folder: Path, steps: Steps) -> dict[str, float]:
    """(b) sentence-transformers' trainer and its in-batch loss."""
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.losses import MultipleNegativesRankingLoss
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        """Notes when steps end."""

        def __init__(self) -> None:
            self.ends: list[float] = []

        def on_step_end(self, *_: Any, **__: Any) -> None:
            """Note the time."""
            self.ends.append(time.perf_counter())

    rows = json.loads((folder / "rows.json").read_text())[steps.first * steps.batch : steps.stop * steps.batch]
    model, clock = SentenceTransformer(str(folder / "model"), device="cpu"), Clock()
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder / "sentence_transformers"),
        per_device_train_batch_size=steps.batch,
        max_steps=steps.warm + steps.timed,
        bf16=DTYPE == "bfloat16",
        use_cpu=True,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        learning_rate=1e-4,
        max_grad_norm=1.0,
    )
    SentenceTransformerTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_dict({"anchor": [row[0] for row in rows], "positive": [row[1] for row in rows]}),
        loss=MultipleNegativesRankingLoss(model, scale=1 / TEMPERATURE),
        callbacks=[clock],
    ).train()
    seconds = clock.ends[-1] - clock.ends[steps.warm - 1]
    return {"samples_per_second": steps.timed * steps.batch / seconds}
