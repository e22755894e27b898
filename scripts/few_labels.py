"""How many labels are enough: from scratch, from a pretrained encoder, and with self-training.

    sentiment-hf pretrain stanfordnlp/imdb --output encoder
    python scripts/few_labels.py --dataset stanfordnlp/imdb --encoder encoder --work runs/few

Trains on 100, 500, 1,000 and 2,000 labelled rows, measures every network once on the test split,
and writes docs/few_labels.md and docs/few_labels.png. The encoder has read the texts, but no label.
"""

import argparse
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import DatasetDict

from sentiment_hf import evaluate, load_reviews, train
from sentiment_hf.checkpoint.figures import figure
from sentiment_hf.checkpoint.files import replaced_folder
from sentiment_hf.checkpoint.folder import EVALUATION_FILE
from sentiment_hf.data.loading import DEFAULT_DATASET
from sentiment_hf.training.lsa import LSA
from sentiment_hf.training.ngrams import NGRAMS
from sentiment_hf.training.run import processor_name

DOCS = Path(__file__).parent.parent / "docs"
UNLABELLED = "unsupervised"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default=DEFAULT_DATASET)
    parser.add_argument("--encoder", required=True, help="what `pretrain` made")
    parser.add_argument("--work", type=Path, default=Path("runs/few"))
    parser.add_argument("--labels", type=int, nargs="+", default=[100, 500, 1_000, 2_000])
    parser.add_argument("--self-training", type=int, nargs="*", help="the counts to do it for")
    parser.add_argument(
        "--epochs", type=int, nargs="+", default=[2], help="of self-training, a number a round"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--docs", type=Path, default=DOCS, help="the folder to write into")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    reviews = load_reviews(arguments.dataset, seed=arguments.seed)
    # By way, then by count.
    found: dict[str, dict[int, float]] = {}
    for count in arguments.labels:
        work = arguments.work / str(count)
        dataset = with_few_labels(reviews, count, arguments.seed, work / "reviews")
        rounds = arguments.epochs if UNLABELLED in reviews else []
        if arguments.self_training is not None and count not in arguments.self_training:
            rounds = []
        for way, folder, options in ways(work, arguments.encoder, rounds):
            # What is trained and measured is taken as it is, so that a cut run can be repeated.
            train(dataset, folder, seed=arguments.seed, resume=True, show_progress=False, **options)
            if not (folder / EVALUATION_FILE).exists():
                evaluate(dataset, folder, dtype="bfloat16", save=True)
            accuracy = json.loads((folder / EVALUATION_FILE).read_text())["accuracy"]
            found.setdefault(way, {})[count] = accuracy
            logging.info("%d labels, %s: %.4f", count, way, accuracy)

    with figure(arguments.docs / "few_labels.png") as axes:
        for way, accuracies in found.items():
            axes.semilogx(list(accuracies), list(accuracies.values()), marker="o", label=way)
        axes.set(xlabel="labelled rows", ylabel="accuracy on the test split")
        axes.legend()
    chosen = ""
    if arguments.self_training is not None:
        chosen += f" --self-training {' '.join(map(str, arguments.self_training))}"
    if arguments.epochs != parser.get_default("epochs"):
        chosen += f" --epochs {' '.join(map(str, arguments.epochs))}"
    lines = [
        "# How many labels are enough",
        "",
        f"Written by `python scripts/few_labels.py{chosen}` on {processor_name()}.",
        f"Rows of the training split (seed {arguments.seed}), a tenth of them for calibration; the"
        " encoder and self-training also read texts without labels. The teachers of self-training"
        " are the network before it, `lsa` and `ngrams`. Accuracy on the whole test split, one run"
        " each.",
        "",
        "| labelled rows | " + " | ".join(found) + " |",
        "|---|" + "---|" * len(found),
    ]
    for count in arguments.labels:
        cells = [f"{way[count]:.4f}" if count in way else "-" for way in found.values()]
        lines.append(f"| {count:,} | {' | '.join(cells)} |")
    lines += ["", "![Accuracy over labelled rows](few_labels.png)", ""]
    (arguments.docs / "few_labels.md").write_text("\n".join(lines))
    print("\n".join(lines))


def ways(
    work: Path, encoder: str, rounds: Sequence[int]
) -> Iterator[tuple[str, Path, dict[str, Any]]]:
    """What a way is called, the folder it fills, and what it tells `train`."""
    yield "from scratch (`fast`)", work / "fast", {"preset": "fast"}
    source, last = encoder, work / "best"
    yield "from the encoder (`best`)", last, {"preset": "best", "init_from": source}
    for number, epochs in enumerate(rounds, start=1):
        folder = work / f"student-{number}"
        options = {
            "preset": "student",
            "init_from": source,
            "teacher": [last, LSA, NGRAMS],
            "unlabelled_split": UNLABELLED,
            "epochs": epochs,
        }
        way = "self-training (`student`)" if number == 1 else f"round {number} of it"
        yield way, folder, options
        source = last = folder


def with_few_labels(reviews: DatasetDict, count: int, seed: int, folder: Path) -> Path:
    """The same splits on disk, with `count` labelled rows in `train`."""
    if not folder.exists():
        rows = np.random.default_rng(seed).choice(len(reviews["train"]), count, replace=False)
        few = DatasetDict({**reviews, "train": reviews["train"].select(np.sort(rows))})
        with replaced_folder(folder) as new:
            few.save_to_disk(new)
    return folder


if __name__ == "__main__":
    main()
