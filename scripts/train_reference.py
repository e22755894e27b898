"""Makes the reference checkpoint of the package, stage by stage.

    python scripts/train_reference.py --imdb stanfordnlp/imdb --sst2 stanfordnlp/sst2 \
        --products PRODUCTS --base sentence-transformers/all-MiniLM-L6-v2 --work runs/reference

The data: IMDB and SST-2 from the Hub; the product reviews are ten domains of FDU-MTL (Liu, Qiu &
Huang 2017), from its authors' repository, as a data set with `text`, `label` and `domain` and the
splits `train` and `unlabelled`.

1. `adapted`: the base encoder as a masked language model on all texts.
2. `all-MiniLM-L6-v2-fine-tuned`: that encoder, fine-tuned on the labels of all three.
3. `language-model`: embedding and LSTM as a language model on all texts.
4. `reference`: preset `student`, from that encoder, on the labels of all three and on what the
   teacher answers to them, to the texts without labels, and to their sentences.

Everything is chosen on IMDB's validation rows, on whole sentences held out of SST-2's training
split with every phrase of them, and on a tenth of each kind of product. Then the reference is
measured once on IMDB's test split, on SST-2's validation split and on the products' validation
rows, and put into the package with its card as `model_card.md` beside it. Cut off, the same command
resumes where it was. What each stage costs stands in docs/experiments.md.
"""

import argparse
import json
import logging
import shutil
from pathlib import Path

import numpy as np
from adapt_encoder import adapt
from datasets import ClassLabel, Dataset, DatasetDict, concatenate_datasets, load_dataset
from encoder_training import BASE
from finetune_teacher import finetune

from sentiment_hf import evaluate, pretrain, train
from sentiment_hf.checkpoint.folder import CARD_FILE, EVALUATION_FILE, REFERENCE_FOLDER
from sentiment_hf.checkpoint.records import read_record
from sentiment_hf.data.loading import dataset_name
from sentiment_hf.errors import run_script
from sentiment_hf.training.rows import read_training_rows

LARGEST_BYTES = 12_000_000
CARD_COPY = Path(__file__).parent.parent / "model_card.md"
LABEL_MAP = {"negative": "neg", "positive": "pos"}
UNLABELLED = ("unsupervised", "unlabelled")
HELD_OUT_SENTENCES = 600
SENTENCES = 600_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--imdb", default="stanfordnlp/imdb")
    parser.add_argument("--sst2", default="stanfordnlp/sst2")
    parser.add_argument("--products", required=True)
    parser.add_argument("--base", default=BASE)
    parser.add_argument("--work", type=Path, default=Path("runs/reference"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", action="store_true", help="leave the package as it is")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    work, seed = arguments.work, arguments.seed
    prepared = prepare(arguments.imdb, arguments.sst2, arguments.products, work / "data", seed)
    # A finished stage says so and is not repeated; an unfinished one resumes.
    texts = all_texts(prepared, seed)
    adapt(texts["train"], work / "adapted", base=arguments.base, seed=seed)
    # The card names the teacher and the encoder by their folders.
    teacher, encoder = work / f"{Path(arguments.base).name}-fine-tuned", work / "language-model"
    finetune(
        prepared,
        teacher,
        base=str(work / "adapted"),
        learning_rate=1.2e-4,
        batch_size=128,
        seed=seed,
    )
    pretrain(texts, encoder, epochs=5, batch_size=288, learning_rate=5e-3, seed=seed, resume=True)
    train(
        prepared,
        work / "reference",
        preset="student",
        init_from=encoder,
        teacher=teacher,
        unlabelled_split=UNLABELLED,
        sentences=SENTENCES,
        epochs=3,
        seed=seed,
        resume=True,
    )
    # The card shows the last one first.
    measure_once(prepared[-1], "validation", work / "reference")
    measure_once(arguments.sst2, "validation", work / "reference", label_map=LABEL_MAP)
    measure_once(arguments.imdb, "test", work / "reference")
    if not arguments.keep:
        install(work / "reference")


def prepare(imdb: str, sst2: str, products: str, folder: Path, seed: int) -> list[str]:
    """Gives SST-2 and the product reviews validation rows of their own; IMDB stays as it is."""
    for name, source, hold_out in (
        ("sst2", sst2, held_out_sentences),
        ("fdu_mtl", products, held_out_of_each_kind),
    ):
        if not (folder / name).exists():
            splits = load_dataset(source)
            train = splits["train"].cast_column("label", ClassLabel(names=["neg", "pos"]))
            held_out, excluded = hold_out(train, np.random.default_rng(seed))
            rest = [i for i in range(len(train)) if i not in excluded]
            own = {"train": train.select(rest), "validation": train.select(held_out)}
            others = {key: value for key, value in splits.items() if key in UNLABELLED}
            unfinished = folder / f"{name}.unfinished"
            DatasetDict({**own, **others}).save_to_disk(str(unfinished))
            unfinished.rename(folder / name)
    return [imdb, str(folder / "sst2"), str(folder / "fdu_mtl")]


def held_out_sentences(train: Dataset, rng: np.random.Generator) -> tuple[list[int], set[int]]:
    """Whole sentences of SST-2, and every row that is one of them or a phrase of one."""
    texts = [" ".join(text.split()) for text in train["sentence"]]
    phrases: dict[str, set[str]] = {}
    known: set[str] = set()
    for text in sorted(set(texts), key=lambda text: -len(text.split())):
        if text not in known:  # No phrase of a longer one: a whole sentence.
            phrases[text] = spans(text)
            known |= phrases[text]
    chosen = rng.choice(sorted(phrases), HELD_OUT_SENTENCES, replace=False)
    excluded = set().union(*(phrases[text] for text in chosen))
    first = {text: number for number, text in reversed(list(enumerate(texts)))}
    held_out = sorted(first[text] for text in chosen)
    return held_out, {number for number, text in enumerate(texts) if text in excluded}


def spans(text: str) -> set[str]:
    words = text.split()
    ends = range(1, len(words) + 1)
    return {" ".join(words[start:end]) for end in ends for start in range(end)}


def held_out_of_each_kind(train: Dataset, rng: np.random.Generator) -> tuple[list[int], set[int]]:
    """A tenth of each kind of product, and every row with one of their texts."""
    kinds = np.array(train["domain"])
    chosen = [
        number
        for kind in sorted(set(kinds))
        for number in rng.permutation(np.flatnonzero(kinds == kind))[: (kinds == kind).sum() // 10]
    ]
    texts = train["text"]
    held_out = {texts[int(number)] for number in chosen}
    excluded = {number for number, text in enumerate(texts) if text in held_out}
    return sorted(map(int, chosen)), excluded


def all_texts(prepared: list[str], seed: int) -> DatasetDict:
    """The texts of all data sets, with those held out of each as the validation split."""
    rows = read_training_rows(prepared, UNLABELLED, seed, {})
    held_out = [one.validation.select_columns(["text"]) for one in rows.labelled]
    return DatasetDict({"train": rows.training_texts, "validation": concatenate_datasets(held_out)})


def measure_once(
    dataset: str, split: str, folder: Path, label_map: dict[str, str] | None = None
) -> None:
    """Measures a checkpoint on a split, unless its record has that already."""
    record = read_record(folder, EVALUATION_FILE)
    measured = [
        (one.get("dataset"), one.get("split")) for one in [record, *record.get("others", [])]
    ]
    if (dataset_name(dataset), split) not in measured:
        results = evaluate(dataset, folder, split=split, save=True, label_map=label_map)
        print(json.dumps({dataset: results}, indent=2))


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
    raise SystemExit(run_script(main))
