"""How many labels are enough: from scratch, from an encoder, and taught by a transformer.

    sentiment-hf pretrain stanfordnlp/imdb --output encoder
    python scripts/few_labels.py --dataset stanfordnlp/imdb --encoder encoder --work runs/few

Of 100, 500, 1,000 and 2,000 labelled rows learn: preset `fast`; preset `best` from the encoder; an
encoder of `transformers`; and a student of the last two, which also reads the texts without
labels. In a second round (`--rounds 2`) the encoder learns from what these three answer about some
of those texts, and teaches another student together with the first. All but this encoder are
measured once on the test split. Writes few_labels.md and few_labels.png beside them.
"""

import argparse
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict, concatenate_datasets
from encoder_training import BASE
from finetune_teacher import finetune

from sentiment_hf import evaluate, load_reviews, train
from sentiment_hf.checkpoint.figures import figure
from sentiment_hf.checkpoint.files import write_json
from sentiment_hf.checkpoint.folder import EVALUATION_FILE
from sentiment_hf.data.loading import DEFAULT_DATASET
from sentiment_hf.errors import SentimentError, run_script
from sentiment_hf.training.rows import SOFT_LABEL_NAMES, read_training_rows
from sentiment_hf.training.run import processor_name
from sentiment_hf.training.teacher import kept_answers, load_teacher
from sentiment_hf.training.transformers_teacher import TransformersTeacher

UNLABELLED = "unsupervised"
# In the second round the encoder learns from the answers about so many texts, and from each
# labelled row so many times: an epoch of these takes half an hour on a core.
ANSWERED_TEXTS, LABELLED_REPEATS = 10_000, 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default=DEFAULT_DATASET)
    parser.add_argument("--encoder", required=True, help="what `pretrain` made")
    parser.add_argument("--base", default=BASE, help="the encoder of transformers")
    parser.add_argument("--work", type=Path, default=Path("runs/few"))
    parser.add_argument("--labels", type=int, nargs="+", default=[100, 500, 1_000, 2_000])
    parser.add_argument("--unlabelled", type=int, help="texts without labels to ask about [all]")
    parser.add_argument("--rounds", type=int, choices=[1, 2], default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--docs", type=Path, help="the folder for the page [default: --work]")
    arguments = parser.parse_args()
    docs = arguments.docs or arguments.work
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    reviews = load_reviews(arguments.dataset, seed=arguments.seed)
    if arguments.rounds == 2 and UNLABELLED not in reviews:
        raise SentimentError(f"A second round asks about texts of the split {UNLABELLED!r}.")
    # By method, then by count. What is finished is taken as it is, so a cut run can be repeated.
    found: dict[str, dict[int, float]] = {}
    for count in arguments.labels:
        work = arguments.work / str(count)
        few = sampled(reviews, "train", count, arguments.seed)
        few = sampled(few, UNLABELLED, arguments.unlabelled, arguments.seed)
        for method, accuracy in accuracies(few, work, arguments):
            found.setdefault(method, {})[count] = accuracy
            logging.info("%d labels, %s: %.4f", count, method, accuracy)

    texts = len(few.get(UNLABELLED, ()))
    with figure(docs / "few_labels.png") as axes:
        for method, values in found.items():
            axes.semilogx(list(values), list(values.values()), marker="o", label=method)
        # What stands there of itself are powers of ten in formulas, which the figures do not set.
        axes.set_xticks(arguments.labels, [f"{count:,}" for count in arguments.labels])
        axes.minorticks_off()
        axes.set(xlabel="labelled rows", ylabel="accuracy on the test split")
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    lines = [
        "# How many labels are enough",
        "",
        f"Written by `python scripts/few_labels.py` on {processor_name()}.",
        f"Rows of the training split (seed {arguments.seed}), a tenth of them for calibration; the"
        f" encoder read all texts, the student {texts:,} texts without labels besides. Accuracy on"
        " the whole test split, one run each.",
        "",
        "| labelled rows | " + " | ".join(found) + " |",
        "|---|" + "---|" * len(found),
    ]
    for count in arguments.labels:
        cells = [f"{values[count]:.4f}" if count in values else "-" for values in found.values()]
        lines.append(f"| {count:,} | {' | '.join(cells)} |")
    lines += ["", "![Accuracy over labelled rows](few_labels.png)", ""]
    (docs / "few_labels.md").write_text("\n".join(lines))
    print("\n".join(lines))


def sampled(reviews: DatasetDict, split: str, count: int | None, seed: int) -> DatasetDict:
    """The same splits with `count` rows of one of them, if there are more."""
    if count is None or len(reviews.get(split, ())) <= count:
        return reviews
    rows = np.random.default_rng(seed).choice(len(reviews[split]), count, replace=False)
    return DatasetDict({**reviews, split: reviews[split].select(np.sort(rows))})


def accuracies(
    few: DatasetDict, work: Path, arguments: argparse.Namespace
) -> Iterator[tuple[str, float]]:
    """Each method to learn from the rows, with its accuracy on the test split."""
    encoder, seed = arguments.encoder, arguments.seed

    def measured(name: str, **options: Any) -> float:
        folder = work / name
        train(few, folder, seed=seed, resume=True, show_progress=False, **options)
        if not (folder / EVALUATION_FILE).exists():
            evaluate(few, folder, save=True)
        return json.loads((folder / EVALUATION_FILE).read_text())["accuracy"]

    yield "from scratch (`fast`)", measured("fast", preset="fast")
    yield "from the encoder (`best`)", measured("best", preset="best", init_from=encoder)
    transformer = work / "transformer"
    # About three hundred steps, however few the labels are.
    epochs = min(20, max(4, 5_000 // len(few["train"])))
    finetune([few], transformer, base=arguments.base, epochs=epochs, batch_size=16, seed=seed)
    if not (transformer / "test.json").exists():
        answers = TransformersTeacher(transformer).probabilities(few["test"]["text"][:])
        right = answers.argmax(axis=1) == np.array(few["test"]["label"])
        write_json(transformer / "test.json", {"accuracy": float(right.mean())})
    yield "the transformer", json.loads((transformer / "test.json").read_text())["accuracy"]
    teaching = {"preset": "student", "init_from": encoder}
    if UNLABELLED in few:
        teaching["unlabelled_split"] = UNLABELLED
    teacher = [work / "best", transformer]
    taught = measured("student", teacher=teacher, epochs=2, **teaching)
    yield "taught by the last two (`student`)", taught
    if arguments.rounds == 2:
        again = work / "transformer-2"
        answered = answered_rows(few, [*teacher, work / "student"], seed)
        options = {"epochs": 1, "batch_size": 32, "max_length": 384, "seed": seed}
        finetune([answered], again, base=arguments.base, **options)
        teacher = [work / "student", again]
        taught = measured("student-2", teacher=teacher, epochs=4, **teaching)
        yield "taught in a second round (`student`)", taught


def answered_rows(few: DatasetDict, teacher: list[Path], seed: int) -> DatasetDict:
    """Texts without labels with the mean of some answers, and the labelled rows, as soft labels."""
    rows = read_training_rows([few], [UNLABELLED], seed, {}, is_taught=True)
    [labelled] = rows.labelled
    texts = sampled(DatasetDict(train=rows.unlabelled), "train", ANSWERED_TEXTS, seed)["train"]
    loaded = [load_teacher(model) for model in teacher]
    answers = np.mean([kept_answers(one, one.checksum(), texts) for one in loaded], axis=0)
    # A soft label is the probability of this one.
    second = rows.label_names.index(SOFT_LABEL_NAMES[1])

    def soft(split: Dataset, labels: Any) -> Dataset:
        columns = {"text": split["text"][:], "label": np.asarray(labels, np.float32)}
        return Dataset.from_dict(columns)

    def hard(split: Dataset) -> Dataset:
        return soft(split, np.asarray(split["label"]) == second)

    own = hard(labelled.train)
    return DatasetDict(
        train=concatenate_datasets([soft(texts, answers[:, second]), *[own] * LABELLED_REPEATS]),
        validation=hard(labelled.validation),
    )


if __name__ == "__main__":
    raise SystemExit(run_script(main))
