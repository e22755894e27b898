"""Makes the reference checkpoint of the package from IMDB.

    python scripts/train_reference.py --dataset stanfordnlp/imdb --work runs/reference

Trains preset `fast`, measures it on the official test split and puts the folder into the
package, with its card as `model_card.md` beside it. Cut off, the same command goes on.
"""

import argparse
import json
import logging
import shutil
from pathlib import Path

from sentiment_hf import evaluate, train
from sentiment_hf.checkpoint import CARD_FILE, EVALUATION_FILE, REFERENCE_FOLDER, is_checkpoint

LARGEST_BYTES = 12_000_000
CARD_COPY = Path(__file__).parent.parent / "model_card.md"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="stanfordnlp/imdb")
    parser.add_argument("--work", type=Path, default=Path("runs/reference"))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    folder = arguments.work
    if not is_checkpoint(folder):
        train(arguments.dataset, folder, preset="fast", seed=arguments.seed, resume=True)
    if not (folder / EVALUATION_FILE).exists():
        print(json.dumps(evaluate(arguments.dataset, folder, save=True), indent=2))
    install(folder)


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
