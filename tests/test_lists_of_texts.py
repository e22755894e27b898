"""Texts in every kind of list; what would be iterated into something else is refused."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from datasets import Dataset

from sentiment_hf import SentimentError, evaluate, load_reviews, train, train_tokenizer

SAME = ["a good film", "a bad film", "warm and good"]


@pytest.mark.parametrize(
    "texts",
    [
        tuple(SAME),
        np.array(SAME),
        np.array(SAME, dtype=object),
        pd.Series(SAME, index=[7, 8, 9]),
        pd.Series(SAME, dtype="category"),
        pd.Series(SAME, index=["a", "b", "c"], name="text"),
        pd.DataFrame({"text": SAME, "label": [1, 0, 1]})["text"],
        pa.array(SAME),
        pa.chunked_array([SAME[:1], SAME[1:]]),
        pa.array(SAME).dictionary_encode(),
        Dataset.from_dict({"text": SAME})["text"],
        (text for text in SAME),
    ],
    ids=[
        *("tuple", "array", "objects", "Series", "categories", "named", "column of a DataFrame"),
        *("Arrow", "chunks", "dictionary", "column", "generator"),
    ],
)
def test_texts_come_in_every_kind_of_list(make_pipeline, texts):
    pipe = make_pipeline()
    assert pipe(texts) == pipe(SAME)


TABLE = {"text": SAME}
NO_TEXTS = [TABLE, pd.DataFrame(TABLE), Dataset.from_dict(TABLE), pa.table(TABLE), set(SAME)]
NO_TEXTS += [b"a good film", np.array("a good film"), None, 5]
ROWS = pd.DataFrame({"text": SAME, "label": ["pos", "neg", "pos"]})
NO_TEXTS += [ROWS.iloc[0], next(ROWS.itertuples(index=False))]


@pytest.mark.parametrize("texts", NO_TEXTS, ids=lambda texts: type(texts).__name__)
def test_what_would_be_iterated_into_something_else_is_refused(make_pipeline, texts):
    pipe = make_pipeline()
    for read in (pipe, pipe.probabilities, pipe.logits, pipe.trace, pipe.best, train_tokenizer):
        with pytest.raises(SentimentError, match=rf"text.*{type(texts).__name__}"):
            read(texts)


@pytest.mark.parametrize(
    "texts",
    [
        pd.Series(["a good film", None]),
        pd.Series(["a good film", np.nan], dtype=object),
        pd.Series(["a good film", None], dtype="string"),
        pa.array(["a good film", None]),
    ],
    ids=["Series", "objects", "string", "Arrow"],
)
def test_a_text_that_is_missing_in_a_column_has_no_answer(make_pipeline, texts):
    pipe = make_pipeline()
    expected = pipe.annotate({"text": ["a good film", None]})
    assert pipe.annotate({"text": texts}) == expected
    assert expected["predicted_label"][1] is None
    with pytest.raises(SentimentError, match="Text number 1 is of the type NoneType"):
        pipe(texts)


@pytest.mark.parametrize("texts", NO_TEXTS[:2], ids=["dict", "DataFrame"])
def test_a_table_is_no_data_set(texts, tmp_path):
    for read in (load_reviews, evaluate, lambda rows: train(rows, tmp_path / "out")):
        with pytest.raises(SentimentError, match=type(texts).__name__):
            read(texts)


def test_one_text_where_a_batch_is_meant_is_refused(make_pipeline):
    pipe = make_pipeline()
    with pytest.raises(SentimentError, match="not one text"):
        pipe.best("good")
    rows = Dataset.from_dict({"text": [*SAME, None]})
    with pytest.raises(SentimentError, match="batched=True"):
        rows.map(pipe.annotate)
    assert rows.map(pipe.annotate, batched=True)["predicted_label"][3] is None


def test_one_split_may_be_named_as_it_is():
    assert list(load_reviews("sample", splits="test")) == ["test"]


def test_a_tokenizer_is_not_trained_on_numbers():
    with pytest.raises(SentimentError, match="texts"):
        train_tokenizer([1, 2])
