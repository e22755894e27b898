"""Batches: token ids of many texts, cut, grouped by length and padded."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from sentiment_hf.arguments import check_kind, check_whole
from sentiment_hf.data.tokenization import PAD_ID, tokenize_split
from sentiment_hf.errors import SentimentError

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from tokenizers import Tokenizer
    from torch import Tensor
    from torch.utils.data import DataLoader

# Batches are cut from windows of this many batches sorted by length: little padding, and
# still another mixture of rows in every epoch.
WINDOW_BATCHES = 50
HEAD_SHARE = 0.25
SHORTEST_CROP = 8


def cut(ids: np.ndarray, max_length: int | None) -> np.ndarray:
    """Keeps the head (a quarter) and the tail (three quarters) of a text that is too long."""
    if max_length is None or len(ids) <= max_length:
        return ids
    head = head_length(max_length)
    return np.concatenate([ids[:head], ids[len(ids) - (max_length - head) :]])


def head_length(max_length: int) -> int:
    """How many words are kept of the head of a text that is too long."""
    return int(max_length * HEAD_SHARE)


def pad_rows(rows: list[np.ndarray], seq: int | None = None, side: str = "right") -> np.ndarray:
    """Rows of ids as one array `(batch, seq)`, `seq` being the longest row unless given."""
    padded = np.full((len(rows), seq or max(map(len, rows))), PAD_ID, dtype=np.int64)
    for line, row in zip(padded, rows, strict=True):
        if side == "right":
            line[: len(row)] = row
        else:
            line[len(line) - len(row) :] = row
    return padded


@dataclass(frozen=True)
class Batch:
    """What an objective gets.

    Attributes:
        input_ids: `(batch, seq)`, padded on the right.
        attention_mask: `(batch, seq)`, true where a word stands.
        labels: target probabilities, `(batch,)` of the second of two labels or
            `(batch, num_labels)`; None for text without labels.
        share: what the mean over these rows counts in the mean over those of all processes,
            times their number: 1 unless they have more or less to do.
    """

    input_ids: "Tensor"
    attention_mask: "Tensor"
    labels: "Tensor | None" = None
    share: float = 1.0

    def to(self, device: "torch.device") -> "Batch":
        return replace(
            self,
            input_ids=self.input_ids.to(device, non_blocking=True),
            attention_mask=self.attention_mask.to(device, non_blocking=True),
            labels=None if self.labels is None else self.labels.to(device, non_blocking=True),
        )


@dataclass(frozen=True)
class EncodedRows:
    """Token ids of many texts in one flat array: 4 bytes a word, rows in constant time.

    Attributes:
        tokens: all ids, `(total words,)`.
        starts, ends: where each row begins and ends, `(rows,)`.
        labels: target probabilities as in `Batch`, `(rows,)` or `(rows, num_labels)`.
    """

    tokens: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    labels: np.ndarray | None = None

    @classmethod
    def from_split(
        cls, split: "Dataset", tokenizer: "Tokenizer", num_labels: int | None = None
    ) -> "EncodedRows":
        """Tokenizes a split with the columns `text` and `label` (as `load_reviews` gives it).

        Args:
            num_labels: how many labels the network knows; None leaves the labels aside.
        """
        columns = tokenize_split(split, tokenizer).with_format("arrow")[:]
        ids = columns["input_ids"].combine_chunks()
        lengths = np.asarray(ids.value_lengths(), dtype=np.int64)
        ends = np.cumsum(lengths)
        labels = None
        if num_labels is not None:
            labels = target_probabilities(np.asarray(columns["label"]), num_labels)
        return cls(ids.flatten().to_numpy().astype(np.int32), ends - lengths, ends, labels)

    @classmethod
    def concatenated(
        cls, parts: Sequence["EncodedRows"], repeats: Sequence[int] | None = None
    ) -> "EncodedRows":
        """The rows of several, one after the other; each `repeats` times, at no cost of memory."""
        offsets = np.cumsum([0, *(len(part.tokens) for part in parts[:-1])])
        places = list(zip(parts, offsets, repeats or [1] * len(parts), strict=True))
        labels = [
            np.concatenate([part.labels] * n) for part, _, n in places if part.labels is not None
        ]
        return cls(
            np.concatenate([part.tokens for part in parts]),
            np.concatenate([np.tile(part.starts + offset, n) for part, offset, n in places]),
            np.concatenate([np.tile(part.ends + offset, n) for part, offset, n in places]),
            np.concatenate(labels) if labels else None,
        )

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, row: int) -> np.ndarray:
        return self.tokens[self.starts[row] : self.ends[row]]

    @property
    def lengths(self) -> np.ndarray:
        return self.ends - self.starts

    def windows(self, length: int, shortest: int = 1) -> "EncodedRows":
        """The same texts cut into pieces of at most `length` words, each a row of its own.

        Args:
            shortest: pieces of fewer words are left out.
        """
        pieces = -(-self.lengths // length)
        offsets = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        starts = np.repeat(self.starts, pieces) + offsets * length
        ends = np.minimum(starts + length, np.repeat(self.ends, pieces))
        kept = ends - starts >= shortest
        return EncodedRows(self.tokens, starts[kept], ends[kept])


def target_probabilities(values: np.ndarray, num_labels: int) -> np.ndarray:
    """Class ids or soft labels as target probabilities, `(rows,)` or `(rows, num_labels)`."""
    if num_labels == 2:
        return values.astype(np.float32)
    return np.eye(num_labels, dtype=np.float32)[values.astype(np.int64)]


@dataclass(frozen=True)
class TrainingBatches:
    """The batches of every epoch: shuffled, grouped by length, the same for the same seed.

    Attributes:
        batch_size: rows per batch, over all processes.
        max_length: longer rows keep head and tail.
        crop_share: this share of the rows shows a random piece of its text instead, so that
            the network also learns to judge a sentence or two.
        rank, world: this process and how many there are; each takes its part of every batch.
        by_words: an objective's mean is one over guessed words (all but one of a row), not rows.
    """

    rows: EncodedRows
    batch_size: int
    max_length: int | None = None
    crop_share: float = 0.0
    seed: int = 0
    rank: int = 0
    world: int = 1
    by_words: bool = False

    def __len__(self) -> int:
        return math.ceil(len(self.rows) / self.batch_size)

    def plan(self, epoch: int) -> list[np.ndarray]:
        """The row numbers of each batch of an epoch."""
        generator = np.random.default_rng((self.seed, epoch))
        order = generator.permutation(len(self.rows))
        window = self.batch_size * WINDOW_BATCHES
        # Where one window holds all rows, rough lengths keep the epochs from being all the same.
        roughness = 0.0 if len(order) > window else 0.1
        lengths = self.rows.lengths * generator.uniform(1 - roughness, 1 + roughness, len(order))
        batches = []
        for start in range(0, len(order), window):
            part = order[start : start + window]
            part = part[np.argsort(lengths[part], kind="stable")]
            batches += [part[i : i + self.batch_size] for i in range(0, len(part), self.batch_size)]
        return [batches[i] for i in generator.permutation(len(batches))]

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from batch `start` on."""
        for number, rows in enumerate(self.plan(epoch)):
            if number >= start:
                yield self._batch(rows, np.random.default_rng((self.seed, epoch, number)))

    def _batch(self, rows: np.ndarray, generator: np.random.Generator) -> Batch:
        cropped = generator.random(len(rows)) < self.crop_share
        chances = generator.random((len(rows), 2))
        # A last batch of fewer rows than processes gives some of them a row once more.
        mine = np.arange(self.rank, max(len(rows), self.rank + 1), self.world) % len(rows)
        texts = [
            self._crop(self.rows[row], chance) if crop else cut(self.rows[row], self.max_length)
            for row, crop, chance in zip(rows[mine], cropped[mine], chances[mine], strict=True)
        ]
        labels = self.rows.labels
        batch = make_batch(texts, None if labels is None else labels[rows[mine]])
        if self.world == 1:
            return batch
        counts = self.rows.lengths[rows] - 1 if self.by_words else np.ones(len(rows))
        own = counts[self.rank :: self.world].sum()
        return replace(batch, share=float(own * self.world / counts.sum()))

    def _crop(self, ids: np.ndarray, chance: np.ndarray) -> np.ndarray:
        longest = min(len(ids), self.max_length or len(ids))
        if longest <= SHORTEST_CROP:
            return ids
        # Lengths are spread evenly over their logarithm: as many of 10 to 20 as of 100 to 200.
        length = int(SHORTEST_CROP * (longest / SHORTEST_CROP) ** chance[0])
        start = int(chance[1] * (len(ids) - length + 1))
        return ids[start : start + length]


def make_batch(texts: list[np.ndarray], labels: np.ndarray | None = None) -> Batch:
    """Texts as tensors, padded on the right."""
    import torch

    input_ids = torch.from_numpy(pad_rows(texts))
    lengths = torch.tensor([len(ids) for ids in texts], device="cpu")
    mask = torch.arange(input_ids.shape[1], device="cpu") < lengths[:, None]
    return Batch(input_ids, mask, None if labels is None else torch.from_numpy(labels))


def texts_of_like_length(
    rows: EncodedRows | list[np.ndarray],
    max_length: int | None,
    words_per_batch: int,
    batch_size: int | None = None,
) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
    """Batches of rows of like length, each of about `words_per_batch` words, with row numbers."""
    texts = [cut(rows[i], max_length) for i in range(len(rows))]
    lengths = np.array([len(ids) for ids in texts], dtype=np.int64)
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < len(order):
        end = start + 1
        # Rows rise in length, so the last row that fits decides what the batch costs.
        while (
            end < len(order)
            and lengths[order[end]] * (end + 1 - start) <= words_per_batch
            and (batch_size is None or end - start < batch_size)
        ):
            end += 1
        chosen = order[start:end]
        yield chosen, [texts[i] for i in chosen]
        start = end


def make_loader(
    split: "Dataset",
    tokenizer: "Tokenizer",
    *,
    batch_size: int = 50,
    max_length: int = 200,
    shuffle: bool = True,
    seed: int = 0,
) -> "DataLoader":
    """The article's loader: `x, y = next(iter(make_loader(...)))`.

    Args:
        split: with the columns `text` and `label`, as `load_reviews` gives it. Rows that lack one
            of the two are left out, with a count.

    Returns:
        A loader of `x` `(batch, max_length)`, word ids aligned to the right, and `y` `(batch,)`,
        class ids or soft labels.

    Raises:
        SentimentError: the split is none or has no labels, or a size is none.
    """
    import torch
    from datasets import ClassLabel, Dataset, Value
    from tokenizers import Tokenizer
    from torch.utils.data import DataLoader

    from sentiment_hf.data.splits import labelled_rows

    check_kind("split", split, Dataset, "one split of what `load_reviews` gives, a `Dataset`")
    check_kind("tokenizer", tokenizer, Tokenizer, "a `tokenizers.Tokenizer`")
    check_whole("batch_size", batch_size)
    check_whole("max_length", max_length)
    kind, split = split.features.get("label"), split.with_format(None)
    plain = kind.dtype if isinstance(kind, Value) else "none"
    # -1 is no label among class ids, and a label like others in a column of plain integers.
    negative = "int" in plain and any(label is not None and label < 0 for label in split["label"])
    if negative or not (isinstance(kind, ClassLabel) or "int" in plain or "float" in plain):
        raise SentimentError(
            "The loader needs class ids or soft labels in the column 'label', as `load_reviews`"
            " gives them."
        )
    split = labelled_rows(split)
    rows = EncodedRows.from_split(split, tokenizer)
    labels = np.asarray(split["label"])

    def collate(numbers: list[int]) -> "tuple[Tensor, Tensor]":
        texts = [cut(rows[number], max_length) for number in numbers]
        x = torch.from_numpy(pad_rows(texts, max_length, side="left"))
        return x, torch.from_numpy(labels[numbers])

    return DataLoader(
        range(len(rows)),  # type: ignore[arg-type]
        batch_size=batch_size,
        shuffle=shuffle,
        generator=torch.Generator().manual_seed(seed),
        collate_fn=collate,
    )
