"""Batches: cut, grouped by length, padded; every row once an epoch."""

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Value, concatenate_datasets

from sentiment_hf import SentimentError, load_reviews, make_loader, train_tokenizer
from sentiment_hf.data.batching import (
    SHORTEST_CROP,
    EncodedRows,
    TrainingBatches,
    cut,
    make_batch,
    pad_rows,
    texts_of_like_length,
)
from sentiment_hf.data.tokenization import encode_texts


def encoded(lengths, seed=0):
    """Rows of random words whose label is their number."""
    ends = np.cumsum(lengths)
    tokens = np.random.default_rng(seed).integers(2, 1_000, ends[-1]).astype(np.int32)
    return EncodedRows(tokens, ends - lengths, ends, np.arange(len(lengths), dtype=np.float32))


@pytest.fixture
def rows():
    """A thousand rows, from one word to several hundred, as uneven as reviews are."""
    return encoded(np.random.default_rng(1).lognormal(4, 1, 1_000).astype(int) + 1)


def texts_of(batch):
    return [ids[mask].tolist() for ids, mask in zip(batch.input_ids, batch.attention_mask)]


def inference_batches(*arguments):
    return ((numbers, make_batch(texts)) for numbers, texts in texts_of_like_length(*arguments))


def numbers_of(batch):
    return batch.labels.int().tolist()


@pytest.mark.parametrize(
    ("length", "max_length", "kept"),
    [
        (5, 8, [0, 1, 2, 3, 4]),
        (8, 8, [0, 1, 2, 3, 4, 5, 6, 7]),
        (20, 8, [0, 1, 14, 15, 16, 17, 18, 19]),
        (9, 4, [0, 6, 7, 8]),
        (9, 1, [8]),
        (9, None, [0, 1, 2, 3, 4, 5, 6, 7, 8]),
    ],
)
def test_a_long_text_keeps_a_quarter_of_head_and_three_quarters_of_tail(length, max_length, kept):
    assert cut(np.arange(length), max_length).tolist() == kept


def test_rows_are_padded_with_zeros_on_the_side_named():
    some = [np.array([5, 6, 7]), np.array([8])]
    assert pad_rows(some).tolist() == [[5, 6, 7], [8, 0, 0]]
    assert pad_rows(some, side="left").tolist() == [[5, 6, 7], [0, 0, 8]]
    assert pad_rows(some, 4, side="left").tolist() == [[0, 5, 6, 7], [0, 0, 0, 8]]


def test_a_batch_has_a_mask_that_is_true_where_words_stand():
    batch = make_batch([np.array([5, 0, 7]), np.array([8])])
    assert batch.input_ids.tolist() == [[5, 0, 7], [8, 0, 0]]
    assert batch.attention_mask.tolist() == [[True, True, True], [True, False, False]]
    assert batch.labels is None


TEXTS = ["a good film", "", "bad", "a film , a film and a film", "good and bad", "unseen"]
VIEWS = {
    "as it is": lambda split: split,
    "selected": lambda split: split.select([4, 1, 1, 0]),
    "shuffled": lambda split: split.shuffle(seed=2),
    "sharded": lambda split: split.shard(2, 1, contiguous=False),
    "joined": lambda split: concatenate_datasets([split.select([5, 2]), split.shuffle(seed=1)]),
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("num_labels", [None, 2, 3])
def test_encoded_rows_are_the_rows_of_the_split_in_its_order(view, num_labels):
    tokenizer = train_tokenizer(TEXTS * 2, 8)
    kind = ClassLabel(names=["a", "b", "c"][: num_labels or 2])
    labels = [i % kind.num_classes for i in range(len(TEXTS))]
    features = Features({"text": Value("string"), "label": kind})
    split = VIEWS[view](Dataset.from_dict({"text": TEXTS, "label": labels}, features=features))
    rows = EncodedRows.from_split(split, tokenizer, num_labels)
    assert [rows[i].tolist() for i in range(len(rows))] == encode_texts(tokenizer, split["text"][:])
    assert rows.lengths.tolist() == [len(rows[i]) for i in range(len(rows))]
    targets = {
        None: None,
        2: split["label"][:],
        3: np.eye(3)[split["label"][:]].tolist(),
    }
    assert (rows.labels if num_labels is None else rows.labels.tolist()) == targets[num_labels]


def test_soft_labels_stay_what_they_are():
    split = Dataset.from_dict({"text": ["a", "b"], "label": [0.25, 0.75]})
    rows = EncodedRows.from_split(split, train_tokenizer(["a b"] * 2), 2)
    assert rows.labels.tolist() == [0.25, 0.75]
    assert rows.labels.dtype == np.float32


def test_windows_are_the_same_words_in_pieces_of_one_row_each():
    rows = encoded(np.array([7, 1, 3, 6]))
    pieces = rows.windows(3)
    assert pieces.lengths.tolist() == [3, 3, 1, 1, 3, 3, 3]
    assert rows.windows(3, shortest=2).lengths.tolist() == [3, 3, 3, 3, 3]
    assert np.concatenate([pieces[i] for i in range(7)]).tolist() == rows.tokens.tolist()


def test_each_row_comes_once_an_epoch_with_its_own_words_and_label(rows):
    batches = TrainingBatches(rows, 64, seed=5)
    epoch = list(batches.epoch(0))
    assert len(epoch) == len(batches) == 16
    assert all(len(batch.input_ids) <= 64 for batch in epoch)
    assert sorted(n for batch in epoch for n in numbers_of(batch)) == list(range(1_000))
    for batch in epoch:
        assert texts_of(batch) == [rows[n].tolist() for n in numbers_of(batch)]


def test_the_order_depends_on_seed_and_epoch_alone(rows):
    def order(seed, epoch):
        return [numbers_of(batch) for batch in TrainingBatches(rows, 10, seed=seed).epoch(epoch)]

    assert order(5, 0) == order(5, 0)
    orders = [order(5, 0), order(5, 1), order(6, 0)]
    # Not the same batches in another order, nor the same rows in each batch.
    sets = [{frozenset(numbers) for numbers in batches} for batches in orders]
    assert not sets[0] & sets[1]
    assert not sets[0] & sets[2]
    # Short and long batches are mixed.
    ranks = np.argsort(np.argsort([rows.lengths[numbers].mean() for numbers in orders[0]]))
    assert abs(np.corrcoef(ranks, np.arange(len(ranks)))[0, 1]) < 0.35


@pytest.mark.parametrize("start", [0, 1, 7, 15, 16, 99])
def test_an_epoch_begun_in_the_middle_has_exactly_the_batches_that_were_left(rows, start):
    batches = TrainingBatches(rows, 64, crop_share=0.5, max_length=60, seed=5)
    whole, rest = list(batches.epoch(3)), list(batches.epoch(3, start))
    assert len(rest) == max(0, 16 - start)
    for old, new in zip(whole[start:], rest, strict=True):
        assert torch.equal(old.input_ids, new.input_ids)
        assert torch.equal(old.labels, new.labels)


def test_grouping_by_length_leaves_little_padding(rows):
    batches = TrainingBatches(rows, 32, max_length=300)
    masks = [batch.attention_mask for batch in batches.epoch(0)]
    padding = 1 - sum(mask.sum() for mask in masks) / sum(mask.numel() for mask in masks)
    assert padding < 0.15
    at_random = make_batch([rows[i] for i in range(32)]).attention_mask
    assert at_random.float().mean() < 0.5


@pytest.mark.parametrize("max_length", [None, 50])
def test_a_crop_is_a_piece_of_its_own_text_and_keeps_the_label(rows, max_length):
    batches = TrainingBatches(rows, 100, crop_share=1.0, max_length=max_length, seed=1)
    lengths, starts = [], []
    for batch in batches.epoch(0):
        for text, number in zip(texts_of(batch), numbers_of(batch)):
            whole = rows[number]
            longest = min(len(whole), max_length or len(whole))
            assert min(len(whole), SHORTEST_CROP) <= len(text) <= longest
            places = np.lib.stride_tricks.sliding_window_view(whole, len(text))
            found = np.flatnonzero((places == text).all(axis=1))
            assert len(found)
            if len(whole) > 20:
                lengths.append(len(text) / longest)
                starts.append(found[0] / (len(whole) - len(text) + 1))
    assert np.mean(np.array(lengths) < 0.99) > 0.8
    assert 0.3 < np.mean(starts) < 0.7


def test_the_crop_share_says_how_many_rows_are_cropped(rows):
    batches = TrainingBatches(rows, 100, crop_share=0.3)
    long = [
        len(text) < len(rows[number])
        for batch in batches.epoch(0)
        for text, number in zip(texts_of(batch), numbers_of(batch))
        if len(rows[number]) > 30
    ]
    assert 0.2 < np.mean(long) < 0.4


def test_longer_rows_keep_head_and_tail_in_training(rows):
    for batch in TrainingBatches(rows, 100, max_length=40).epoch(0):
        kept = [cut(rows[number], 40).tolist() for number in numbers_of(batch)]
        assert texts_of(batch) == kept


@pytest.mark.parametrize("count", [96, 50, 49])
@pytest.mark.parametrize("world", [2, 3])
def test_the_parts_of_all_processes_together_make_each_batch(count, world):
    rows = encoded(np.random.default_rng(2).integers(1, 40, count))
    options = {"crop_share": 0.5, "max_length": 30, "seed": 4}
    whole = list(TrainingBatches(rows, 12, **options).epoch(1))
    parts = [
        list(TrainingBatches(rows, 12, rank=rank, world=world, **options).epoch(1))
        for rank in range(world)
    ]
    assert {len(part) for part in parts} == {len(whole)}
    for batch, shares in zip(whole, zip(*parts)):
        expected = dict(zip(numbers_of(batch), texts_of(batch)))
        together = {}
        for share in shares:
            assert len(share.input_ids) <= -(-len(expected) // world)
            together |= dict(zip(numbers_of(share), texts_of(share)))
        assert together == expected


@pytest.mark.parametrize("as_list", [False, True])
@pytest.mark.parametrize(("words", "batch_size"), [(2_000, None), (100_000, 7), (10, None)])
def test_inference_reads_each_row_once_within_the_budget(rows, as_list, words, batch_size):
    given = [rows[i] for i in range(len(rows))] if as_list else rows
    seen = []
    for numbers, batch in inference_batches(given, 300, words, batch_size):
        assert texts_of(batch) == [cut(rows[n], 300).tolist() for n in numbers]
        assert batch.input_ids.numel() <= words or len(numbers) == 1
        assert batch_size is None or len(numbers) <= batch_size
        seen += numbers.tolist()
    assert sorted(seen) == list(range(1_000))


def test_inference_groups_rows_of_like_length_and_reads_nothing_from_nothing(rows):
    masks = [batch.attention_mask for _, batch in inference_batches(rows, None, 16_384)]
    assert len(masks) < 20
    assert sum(mask.sum() for mask in masks) / sum(mask.numel() for mask in masks) > 0.7
    assert list(inference_batches([], None, 100)) == []


@pytest.fixture
def sample():
    split = load_reviews("sample", splits=["train"])["train"]
    return split, train_tokenizer(split["text"])


def test_the_loader_gives_x_and_y_as_the_article_prints_them(sample):
    x, y = next(iter(make_loader(*sample)))
    assert (x.shape, x.dtype) == ((50, 200), torch.int64)
    assert (y.shape, y.dtype) == ((50,), torch.int64)
    assert set(y.tolist()) == {0, 1}
    words = x != 0
    assert words[:, -1].all(), "the last column is a word: reviews are aligned to the right"
    assert (words.int().diff(dim=1) >= 0).all(), "padding is on the left alone"
    assert not words.all()


def test_the_loader_reads_the_split_in_order_or_shuffled_by_its_seed(sample):
    split, tokenizer = sample

    def read(**options):
        pairs = list(make_loader(split, tokenizer, max_length=40, **options))
        return torch.cat([x for x, _ in pairs]), torch.cat([y for _, y in pairs])

    x, y = read(shuffle=False, batch_size=30)
    texts = [cut(np.array(ids), 40) for ids in encode_texts(tokenizer, split["text"][:])]
    assert torch.equal(x, torch.from_numpy(pad_rows(texts, 40, side="left")))
    assert y.tolist() == split["label"][:]
    (first, _), (same, _), (other, labels) = read(seed=1), read(seed=1), read(seed=2)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert sorted(first.tolist()) == sorted(other.tolist()) == sorted(x.tolist())
    pairs = sorted(zip(x.tolist(), y.tolist()))
    assert sorted(zip(other.tolist(), labels.tolist())) == pairs


def test_the_loader_gives_soft_labels_as_they_are():
    split = Dataset.from_dict({"text": ["a b", "b"], "label": [0.25, 0.75]})
    loader = make_loader(split, train_tokenizer(["a b"] * 2), max_length=3, shuffle=False)
    x, y = next(iter(loader))
    assert x.tolist() == [[0, 3, 2], [0, 0, 2]] or x.tolist() == [[0, 2, 3], [0, 0, 3]]
    assert y.tolist() == [0.25, 0.75]


def test_the_loader_leaves_out_rows_without_a_text_or_a_label(write, caplog):
    path = write("gap.csv", "text,label", "a b,pos", "b,", ",neg", "b a,neg")
    split = load_reviews(path)["train"]
    x, y = next(iter(make_loader(split, train_tokenizer(["a b"] * 2), shuffle=False)))
    assert (len(x), y.tolist()) == (2, [1, 0])
    assert "Left out 1 of 4 rows without a text." in caplog.text
    assert "Left out 1 of 3 rows without a label." in caplog.text
    plain = Dataset.from_dict({"text": ["a", "b"], "label": [None, 1]})
    for rows in (plain, plain.with_format("torch")):
        _, y = next(iter(make_loader(rows, train_tokenizer(["a b"] * 2))))
        assert y.tolist() == [1]


@pytest.mark.parametrize("labels", [["neg", "pos"], [None, None], [-1, 1], [[0, 1], [1, 0]]])
def test_the_loader_refuses_labels_that_are_no_class_ids(labels):
    split = Dataset.from_dict({"text": ["a", "b"], "label": labels})
    with pytest.raises(SentimentError, match="as `load_reviews` gives them"):
        make_loader(split, train_tokenizer(["a b"] * 2))
