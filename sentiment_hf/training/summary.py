"""What a training learns from: for the log, `training.json` and the card."""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset

from sentiment_hf.data.columns import Columns, label_name
from sentiment_hf.data.label_map import label_map_argument, listed
from sentiment_hf.data.splits import is_labelled

# More empty texts than this, or as many rows with the same text, are worth a word.
EMPTY_SHARE, SAME_SHARE = 0.01, 0.5
# So few different numbers may be names of labels, such as 0, 0.5 and 1.
MOST_NUMBERS = 10


def summarize(
    opened: Dataset,
    train: Dataset,
    names: Sequence[str],
    columns: Columns,
    others: Mapping[str, int],
) -> dict[str, Any]:
    """What `training.json` says of the rows of a data set.

    Args:
        opened: all rows of the split, with `text` and `label`.
        train: those that are trained on.
        columns: what the two are called in the data set.
        others: how many rows are left out for what else.

    Returns:
        `columns`; `classes`, the training rows of each label (of soft labels, of the one they lean
        to); `left_out`, rows by the reason; `oddities`, sentences.
    """
    rows = list(zip(opened["text"], opened["label"], strict=True))
    no_text = sum(text is None for text, _ in rows)
    labelled = [(text, label) for text, label in rows if text is not None and is_labelled(label)]
    no_label = len(rows) - no_text - len(labelled)
    left_out = {"without a text": no_text, "without a label": no_label, **others}
    counts = Counter(np.rint(np.asarray(train["label"], dtype=float)).astype(int).tolist())
    return {
        "columns": columns._asdict(),
        "classes": {name: counts[number] for number, name in enumerate(names)},
        "left_out": {reason: count for reason, count in left_out.items() if count},
        "oddities": [
            *_soft(opened, names, columns),
            *_alike(names),
            *_never_seen(train, names),
            *_odd_texts(labelled),
        ],
    }


def _soft(rows: Dataset, names: Sequence[str], columns: Columns) -> list[str]:
    """That numbers are read as probabilities, where a person may have meant them as names."""
    kind = rows.features["label"]
    if isinstance(kind, ClassLabel):
        return []
    sentence = (
        f"The column {columns.label!r} holds soft labels: its numbers are probabilities of"
        f" {names[1]!r}."
    )
    labels = sorted(label for label in rows.unique("label") if is_labelled(label))
    if len(labels) <= MOST_NUMBERS:
        same = {name: name for name in (label_name(label, kind) for label in labels)}
        sentence += (
            f" If they are names of {len(labels)} labels, say so with `label_map`"
            f" {label_map_argument(same)}."
        )
    return [sentence]


def _never_seen(train: Dataset, names: Sequence[str]) -> list[str]:
    """Labels of a validation split, or of a column's type, that no training row has."""
    if not isinstance(train.features["label"], ClassLabel):
        return []
    found = set(train["label"])
    missing = [name for number, name in enumerate(names) if number not in found]
    return [f"No training row has the label {listed(missing)}."] if missing else []


def _alike(names: Sequence[str]) -> list[str]:
    """Labels that a person would read as one."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        plain = unicodedata.normalize("NFKC", name).casefold()
        # Such as a zero-width space, or a byte-order mark.
        plain = "".join(one for one in plain if unicodedata.category(one) != "Cf")
        groups[" ".join(plain.split())].append(name)
    sentences = []
    for group in groups.values():
        shortest = min(group, key=len)
        pairs = {name: shortest for name in group if name != shortest}
        if pairs:
            sentences.append(
                f"The labels {', '.join(map(repr, group))} differ only by case or blanks, by"
                " characters that are not seen, or by how a letter is encoded; if they mean the"
                f" same, say so with `label_map` {label_map_argument(pairs)}."
            )
    return sentences


def _odd_texts(rows: list[tuple[str, float]]) -> list[str]:
    if not rows:
        return []
    total, sentences = len(rows), []
    counts = Counter(text for text, _ in rows)
    labels_of_texts = Counter(text for text, _ in set(rows))
    if several := sum(count > 1 for count in labels_of_texts.values()):
        sentences.append(f"Texts with more than one label: {several}.")
    empty = sum(count for text, count in counts.items() if not text.strip())
    if empty > EMPTY_SHARE * total:
        sentences.append(f"Empty texts: {empty} of {total}.")
    text, count = counts.most_common(1)[0]
    if count > 1 and count >= SAME_SHARE * total:
        sentences.append(f"Rows with the same text, {text!r:.60}: {count} of {total}.")
    return sentences
