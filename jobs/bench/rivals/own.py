"""What a fine-tuning is measured against: sentence-transformers' trainer with the defaults of its arguments.

    python jobs/bench/rivals/own.py MODEL TRAIN.parquet EXAMPLES OUT

Reads the pairs that `polyglossa init` wrote and trains on as many as our run read; loss and batch sampler are those
that its documentation gives for pairs. The last line is one JSON object: seconds of the training alone.
"""

import json
import sys
import time

import pyarrow.parquet as pq
from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.losses import MultipleNegativesRankingLoss
from sentence_transformers.training_args import BatchSamplers


def main() -> None:
    """Train and save."""
    path, train, examples, out = sys.argv[1:]
    rows = [row for row in pq.read_table(train).to_pylist() if row["split"] == "train"]
    pairs = [(row["query"], answer) for row in rows for answer in row["passage"]]
    model = SentenceTransformer(path, device="cpu")
    batch = SentenceTransformerTrainingArguments.__dataclass_fields__["per_device_train_batch_size"].default
    arguments = SentenceTransformerTrainingArguments(
        output_dir=f"{out}.checkpoints",
        max_steps=max(1, int(examples) // batch),
        batch_sampler=BatchSamplers.NO_DUPLICATES,
        use_cpu=True,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    columns = {"anchor": [query for query, _ in pairs], "positive": [answer for _, answer in pairs]}
    trainer = SentenceTransformerTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_dict(columns),
        loss=MultipleNegativesRankingLoss(model),
    )
    started = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - started
    model.save(out)
    print(json.dumps({"seconds": seconds, "steps": arguments.max_steps, "batch": batch}))


if __name__ == "__main__":
    main()
