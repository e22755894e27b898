"""How many labels are enough: accuracy from scratch and from a pretrained encoder.

    sentiment-hf pretrain stanfordnlp/imdb --output encoder
    python scripts/few_labels.py --dataset stanfordnlp/imdb --encoder encoder --work runs/few

Trains on 100, 500, 1,000 and 2,000 labelled rows, a tenth of which choose the epoch, measures every
network once on the test split, and writes docs/few_labels.md and docs/few_labels.png.
"""

import argparse
import logging
from pathlib import Path

from sentiment_hf import evaluate, train
from sentiment_hf.data import DEFAULT_DATASET
from sentiment_hf.figures import BLUE, ORANGE, figure
from sentiment_hf.training.session import processor_name

DOCS = Path(__file__).parent.parent / "docs"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default=DEFAULT_DATASET)
    parser.add_argument("--encoder", required=True, help="what `pretrain` made")
    parser.add_argument("--work", type=Path, default=Path("runs/few"))
    parser.add_argument("--labels", type=int, nargs="+", default=[100, 500, 1_000, 2_000])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--docs", type=Path, default=DOCS, help="the folder to write into")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    ways = {
        "from scratch (`fast`)": {"preset": "fast"},
        "from the encoder (`best`)": {"preset": "best", "init_from": arguments.encoder},
    }
    found: dict[str, list[float]] = {way: [] for way in ways}
    for count in arguments.labels:
        for number, (way, options) in enumerate(ways.items()):
            folder = arguments.work / f"{count}-{number}"
            # Finished networks are taken as they are, so that a cut run can be repeated.
            train(
                arguments.dataset, folder, max_samples=count, seed=arguments.seed, resume=True,
                show_progress=False, **options,
            )  # fmt: skip
            measured = evaluate(arguments.dataset, folder, dtype="bfloat16")
            found[way].append(measured["accuracy"])
            logging.info("%d labels, %s: %.4f", count, way, measured["accuracy"])

    with figure(arguments.docs / "few_labels.png") as axes:
        for (way, accuracies), colour in zip(found.items(), (ORANGE, BLUE), strict=True):
            axes.semilogx(arguments.labels, accuracies, color=colour, marker="o", label=way)
        axes.set(xlabel="labelled rows", ylabel="accuracy on the test split")
        axes.legend()
    lines = [
        "# How many labels are enough",
        "",
        f"Written by `python scripts/few_labels.py` on {processor_name()}.",
        f"Rows of the training split (seed {arguments.seed}), a tenth of them to choose the epoch;"
        " accuracy on the whole test split, one run each.",
        "",
        "| labelled rows | " + " | ".join(found) + " |",
        "|---|" + "---|" * len(found),
    ]
    for i, count in enumerate(arguments.labels):
        accuracies = " | ".join(f"{accuracies[i]:.4f}" for accuracies in found.values())
        lines.append(f"| {count:,} | {accuracies} |")
    lines += ["", "![Accuracy over labelled rows](few_labels.png)", ""]
    (arguments.docs / "few_labels.md").write_text("\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
