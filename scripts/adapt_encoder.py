"""Adapts an encoder of `transformers` to the texts of data sets, as a masked language model.

    python scripts/adapt_encoder.py stanfordnlp/imdb --unlabelled-split unsupervised \
        --output runs/adapted

What comes out is a `--base` for scripts/finetune_teacher.py (Gururangan et al. 2020,
arXiv:2004.10964: encoders that have read a task's own texts classify them better). No label is
used; validation texts and test texts are left out. Cut off, the same command resumes; another
request is refused.
"""

import argparse
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from encoder_training import (
    BASE,
    STEPS_FOLDER,
    checksum,
    finished_figures,
    load_tokenizer,
    newest_checkpoint,
    training_arguments,
)
from transformers import (
    AutoModelForMaskedLM,
    DataCollatorForLanguageModeling,
    Trainer,
    set_seed,
)

from sentiment_hf.checkpoint.files import write_json
from sentiment_hf.data.label_map import parse_label_map
from sentiment_hf.errors import run_script
from sentiment_hf.training.rows import read_training_rows

FIGURES_FILE = "adapted.json"
WINDOW = 256
SHORTEST = 10
MASKED = 0.2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("datasets", nargs="+", metavar="DATASET")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--base", default=BASE, help=f"a folder or a Hub id [default: {BASE}]")
    parser.add_argument("--unlabelled-split", default="", metavar="A,B")
    parser.add_argument("--label-map", type=parse_label_map)
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    splits = [name for name in arguments.unlabelled_split.split(",") if name]
    reading = {"label_map": arguments.label_map}
    rows = read_training_rows(arguments.datasets, splits, arguments.seed, reading, is_taught=True)
    texts = rows.training_texts
    kept = [i for i, text in enumerate(texts["text"]) if text not in rows.excluded]
    figures = adapt(
        texts.select(kept),
        arguments.output,
        base=arguments.base,
        epochs=arguments.epochs,
        seed=arguments.seed,
    )
    print(json.dumps(figures, indent=2))


def adapt(
    texts: Dataset,
    output: Path,
    *,
    base: str = BASE,
    epochs: float = 3,
    learning_rate: float = 6e-4,
    batch_size: int = 384,
    seed: int = 0,
) -> dict[str, Any]:
    """Writes encoder and tokenizer into `output`; gives how much it has read."""
    tokenizer = load_tokenizer(base, "pad_token", "mask_token", "cls_token", "sep_token")
    set_seed(seed)  # The head may begin with random weights.
    model = AutoModelForMaskedLM.from_pretrained(base)
    request = {
        "epochs": epochs,
        "learning_rate": learning_rate,
        "batch_size": batch_size,
        "seed": seed,
        "texts": texts._fingerprint,
        "base_sha256": checksum(model.base_model),
    }
    if figures := finished_figures(output, request, FIGURES_FILE):
        return figures
    head = model.get_output_embeddings()
    transform = getattr(getattr(model, "cls", None), "predictions", None)
    if transform is not None and head is not None:
        # An encoder for sentences has lost its head: the identity is a better start than noise.
        with torch.no_grad():
            torch.nn.init.eye_(transform.transform.dense.weight)
            transform.transform.dense.bias.zero_()
    windows = []
    for ids in tokenizer(texts["text"][:], add_special_tokens=False, verbose=False)["input_ids"]:
        for start in range(0, len(ids), WINDOW - 2):
            window = ids[start : start + WINDOW - 2]
            if len(window) >= SHORTEST:
                windows.append(
                    {"input_ids": [tokenizer.cls_token_id, *window, tokenizer.sep_token_id]}
                )
    steps = output / STEPS_FOLDER
    trainer = Trainer(
        model,
        training_arguments(
            steps,
            num_train_epochs=epochs,
            learning_rate=learning_rate,
            per_device_train_batch_size=batch_size,
            save_steps=200,
            logging_steps=100,
            seed=seed,
        ),
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm_probability=MASKED),
        train_dataset=windows,
    )
    with redirect_stdout(sys.stderr):  # The trainer prints its losses.
        trainer.train(resume_from_checkpoint=newest_checkpoint(steps))
    model.base_model.save_pretrained(output)
    tokenizer.save_pretrained(output)
    figures = {"windows": len(windows), "steps": trainer.state.global_step}
    write_json(output / FIGURES_FILE, figures)
    return figures


if __name__ == "__main__":
    raise SystemExit(run_script(main))
