"""Fine-tunes an encoder of `transformers` as a teacher for `sentiment-hf train --teacher`.

    python scripts/finetune_teacher.py stanfordnlp/imdb stanfordnlp/sst2 \
        --label-map negative=neg,positive=pos --output runs/teacher

Several data sets are learnt from together. The validation rows are those of `sentiment-hf train`
with the same seed, so that no teacher has seen what its student is judged by. Soft labels, floats
in [0, 1], are learnt as they are. Cut off, the same command resumes at the last saved step; the
folder's request.json holds what was asked for, and another request is refused.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from encoder_training import (
    BASE,
    STEPS_FOLDER,
    checksum,
    finished_figures,
    load_tokenizer,
    newest_checkpoint,
    training_arguments,
)
from torch.nn.functional import cross_entropy
from transformers import (
    AutoModelForSequenceClassification,
    DataCollatorWithPadding,
    Trainer,
    set_seed,
)

from sentiment_hf.checkpoint.files import write_json
from sentiment_hf.data.label_map import parse_label_map
from sentiment_hf.data.loading import DatasetSource
from sentiment_hf.errors import run_script
from sentiment_hf.training.rows import read_training_rows
from sentiment_hf.training.transformers_teacher import HeadAndTailEncoder

FIGURES_FILE = "validation.json"


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
    figures = finetune(arguments.pop("datasets"), **arguments)
    print(json.dumps(figures, indent=2))


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
    tokenizer = load_tokenizer(base, "pad_token")
    rows = read_training_rows(datasets, [], seed, {"label_map": label_map})
    set_seed(seed)  # The head begins with random weights.
    model = AutoModelForSequenceClassification.from_pretrained(
        base,
        num_labels=len(rows.label_names),
        id2label=dict(enumerate(rows.label_names)),
        label2id={name: i for i, name in enumerate(rows.label_names)},
        problem_type="single_label_classification",
    )
    request = {
        "epochs": epochs,
        "learning_rate": learning_rate,
        "batch_size": batch_size,
        "max_length": max_length,
        "seed": seed,
        "label_map": label_map,
        "data": {
            one.name: [part._fingerprint for part in (one.train, one.validation)]
            for one in rows.labelled
        },
        "base_sha256": checksum(model.base_model),
    }
    if figures := finished_figures(output, request, FIGURES_FILE):
        return figures
    encode = HeadAndTailEncoder(tokenizer, model.config, max_length)
    tokenizer.model_max_length = encode.max_length
    classes = len(rows.label_names)
    validation = {one.name: encoded(one.validation, encode, classes) for one in rows.labelled}
    training = [
        row for one in rows.labelled for row in encoded(one.train, encode, classes) * one.repeats
    ]
    steps = output / STEPS_FOLDER
    trainer = Trainer(
        model,
        training_arguments(
            steps,
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
        compute_loss_func=lambda outputs, labels, **_: cross_entropy(outputs.logits, labels),
    )
    with redirect_stdout(sys.stderr):  # The trainer prints its losses.
        trainer.train(resume_from_checkpoint=newest_checkpoint(steps))
        model.save_pretrained(output)
        tokenizer.save_pretrained(output)
        measured = {
            name: trainer.evaluate(part, metric_key_prefix=name)[f"{name}_accuracy"]
            for name, part in validation.items()
        }
    write_json(output / FIGURES_FILE, measured)
    return measured


def encoded(split: Any, encode: HeadAndTailEncoder, classes: int) -> list[dict[str, Any]]:
    """Rows whose labels are probabilities: a soft label is that of the second class."""
    one_hot = np.eye(classes).tolist()
    labels = [
        [1 - label, label] if isinstance(label, float) else one_hot[label]
        for label in split["label"]
    ]
    return [
        {"input_ids": ids.tolist(), "attention_mask": [1] * len(ids), "labels": label}
        for ids, label in zip(encode(split["text"]), labels, strict=True)
    ]


def accuracy(prediction: Any) -> dict[str, float]:
    right = prediction.predictions.argmax(-1) == prediction.label_ids.argmax(-1)
    return {"accuracy": float(right.mean())}


if __name__ == "__main__":
    raise SystemExit(run_script(main))
