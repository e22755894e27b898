"""Makes the reference checkpoint of the package from IMDB, stage by stage.

    python scripts/train_reference.py --dataset stanfordnlp/imdb --work runs

1. `lm`: embedding and LSTM as a language model on all training and unlabelled texts.
2. `best`: preset `best`, fine-tuned from the encoder on the labelled texts.
3. `taught`: preset `student`, from the encoder once more, on the mean of what `best` and a linear
   model over n-grams answer to the labelled and unlabelled texts and to single sentences of them.
4. `reference`: the same, on the answers of `taught` and of n-grams that learnt from it.

Then the reference is measured on the official test split and put into the package, with its card
as `model_card.md` beside it. Cut off, the same command goes on where it was. How long each stage
takes stands in docs/experiments.md; with a GPU, accelerate finds it.
"""

import argparse
import json
import logging
import shutil
from pathlib import Path

from sentiment_hf import evaluate, pretrain, train
from sentiment_hf.checkpoint.folder import CARD_FILE, EVALUATION_FILE, REFERENCE_FOLDER
from sentiment_hf.training.ngrams import NGRAMS

LARGEST_BYTES = 12_000_000
CARD_COPY = Path(__file__).parent.parent / "model_card.md"
UNLABELLED = "unsupervised"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="stanfordnlp/imdb")
    parser.add_argument("--work", type=Path, default=Path("runs"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", action="store_true", help="leave the package as it is")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    dataset, work = arguments.dataset, arguments.work
    # A finished stage says so and is not repeated; an unfinished one goes on.
    stage = {"seed": arguments.seed, "resume": True}
    pretrain(dataset, work / "lm", **stage)
    # The preset has learnt to walk faster since; the reference is from a teacher that walked so.
    train(
        dataset,
        work / "best",
        preset="best",
        init_from=work / "lm",
        learning_rate=1e-3,
        epochs=4,
        **stage,
    )
    for name, source, teacher, epochs in (
        ("taught", "lm", "best", 2),
        ("reference", "taught", "taught", 3),
    ):
        train(
            dataset,
            work / name,
            preset="student",
            init_from=work / source,
            teacher=[work / teacher, NGRAMS],
            epochs=epochs,
            unlabelled_split=UNLABELLED,
            **stage,
        )
    if not (work / "reference" / EVALUATION_FILE).exists():
        print(json.dumps(evaluate(dataset, work / "reference", save=True), indent=2))
    if not arguments.keep:
        install(work / "reference")


def install(folder: Path) -> None:
    """Copies a finished checkpoint into the package."""
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if size > LARGEST_BYTES:
        raise SystemExit(f"{folder} has {size:,} bytes; the package takes {LARGEST_BYTES:,}.")
    shutil.rmtree(REFERENCE_FOLDER, ignore_errors=True)
    shutil.copytree(folder, REFERENCE_FOLDER)
    shutil.copy(folder / CARD_FILE, CARD_COPY)
    print(f"{REFERENCE_FOLDER.name}: {size:,} bytes")


if __name__ == "__main__":
    main()
