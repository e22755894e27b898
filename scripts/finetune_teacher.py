"""Fine-tunes an encoder of `transformers` as a teacher for `sentiment-hf train --teacher`.

    python scripts/finetune_teacher.py stanfordnlp/imdb stanfordnlp/sst2 \
        --label-map negative=neg,positive=pos --output runs/teacher

Several data sets are learnt from together. The validation rows are those of `sentiment-hf train`
with the same seed, so that no teacher has seen what its student is judged by. Cut off, the same
command resumes at the last saved step.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import HfApi, try_to_load_from_cache
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    set_seed,
)

from sentiment_hf.checkpoint.folder import CONFIG_FILE
from sentiment_hf.data.label_map import parse_label_map
from sentiment_hf.data.loading import DatasetSource
from sentiment_hf.errors import HUB_TIMEOUT_SECONDS, hub_errors, run_script
from sentiment_hf.model.device import pick_device, pick_training_dtype
from sentiment_hf.training.rows import read_training_rows
from sentiment_hf.training.transformers_teacher import HeadAndTailEncoder

BASE = "sentence-transformers/all-MiniLM-L6-v2"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("datasets", nargs="+", metavar="DATASET")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--base", default=BASE, help=f"a folder or a Hub id [default: {BASE}]")
    parser.add_argument("--label-map", type=parse_label_map)
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--learning-rate", type=float, default=5e-5)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--max-length", type=int, default=512, help="word pieces of a text")
    parser.add_argument("--seed", type=int, default=0)
    arguments = vars(parser.parse_args())
    print(json.dumps(finetune(arguments.pop("datasets"), **arguments), indent=2))


def finetune(
    datasets: Sequence[DatasetSource],
    output: Path,
    *,
    base: str = BASE,
    label_map: dict[str, str] | None = None,
    epochs: float = 3,
    learning_rate: float = 5e-5,
    batch_size: int = 32,
    max_length: int = 512,
    seed: int = 0,
) -> dict[str, float]:
    """Writes model and tokenizer into `output`; gives the accuracy on each data set."""
    check_base(base)
    rows = read_training_rows(datasets, [], seed, {"label_map": label_map})
    tokenizer = AutoTokenizer.from_pretrained(base)
    set_seed(seed)  # The head begins with random weights.
    model = AutoModelForSequenceClassification.from_pretrained(
        base,
        num_labels=len(rows.label_names),
        id2label=dict(enumerate(rows.label_names)),
        label2id={name: i for i, name in enumerate(rows.label_names)},
    )
    encode = HeadAndTailEncoder(tokenizer, model.config, max_length)
    tokenizer.model_max_length = encode.max_length
    validation = {one.name: encoded(one.validation, encode) for one in rows.labelled}
    training = [row for one in rows.labelled for row in encoded(one.train, encode) * one.repeats]
    trainer = Trainer(
        model,
        training_arguments(
            output / "steps",
            num_train_epochs=epochs,
            learning_rate=learning_rate,
            per_device_train_batch_size=batch_size,
            per_device_eval_batch_size=4 * batch_size,
            eval_strategy="epoch",
            save_steps=500,
            logging_steps=200,
            seed=seed,
        ),
        data_collator=DataCollatorWithPadding(tokenizer),
        train_dataset=training,
        eval_dataset=validation,
        compute_metrics=accuracy,
    )
    trainer.train(resume_from_checkpoint=resumed_from(output / "steps"))
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)
    measured = {
        name: trainer.evaluate(part, metric_key_prefix=name)[f"{name}_accuracy"]
        for name, part in validation.items()
    }
    (output / "validation.json").write_text(json.dumps(measured, indent=2) + "\n")
    return measured


def check_base(base: str) -> None:
    """Says in one sentence what transformers says in a minute of attempts without the Hub.

    Raises:
        SentimentError: `base` is no folder, and is neither on the Hub nor in its cache.
    """
    if Path(base).is_dir():
        return
    with hub_errors(f"the encoder {base!r}", without_hub="name a folder with `base`"):
        if not isinstance(try_to_load_from_cache(base, CONFIG_FILE), str):
            HfApi().model_info(base, timeout=HUB_TIMEOUT_SECONDS)


def training_arguments(steps: Path, **settings: Any) -> TrainingArguments:
    device = pick_device()
    dtype, _ = pick_training_dtype(device)
    return TrainingArguments(
        str(steps),
        warmup_steps=0.06,
        weight_decay=0.01,
        train_sampling_strategy="group_by_length",
        use_cpu=device.type == "cpu",
        bf16=dtype == torch.bfloat16,
        save_total_limit=1,
        report_to="none",
        **settings,
    )


def resumed_from(steps: Path) -> bool:
    """Whether a training that was cut off has left something there."""
    return any(steps.glob("checkpoint-*"))


def encoded(split: Any, encode: HeadAndTailEncoder) -> list[dict[str, Any]]:
    return [
        {"input_ids": ids.tolist(), "attention_mask": [1] * len(ids), "labels": label}
        for ids, label in zip(encode(split["text"]), split["label"], strict=True)
    ]


def accuracy(prediction: Any) -> dict[str, float]:
    return {"accuracy": float(np.mean(prediction.predictions.argmax(-1) == prediction.label_ids))}


if __name__ == "__main__":
    raise SystemExit(run_script(main))
