"""The Python API refuses what makes no sense with a sentence, before anything is written."""

import inspect
import re

import pandas as pd
import pytest

from sentiment_hf import (
    SentimentError,
    SentimentPipeline,
    evaluate,
    load_reviews,
    make_loader,
    train,
    train_tokenizer,
)
from sentiment_hf.annotation import annotate
from sentiment_hf.training.pretrain import pretrain

NO_TEXTS = [5, None, {"text": ["a"]}, pd.DataFrame({"text": ["a"]})]
NO_DATASETS = [*NO_TEXTS, ["a film"], b"a film", object()]
# Where each public function wants texts or a data set.
TEXTS = {
    "pipeline": lambda pipe, value: pipe(value),
    "probabilities": lambda pipe, value: pipe.probabilities(value),
    "logits": lambda pipe, value: pipe.logits(value),
    "best": lambda pipe, value: pipe.best(value),
    "trace": lambda pipe, value: pipe.trace(value),
    "trajectory": lambda pipe, value: pipe.trajectory(value),
    "explain": lambda pipe, value: pipe.explain(value),
    "annotate a column": lambda pipe, value: pipe.annotate({"text": value}),
    "train_tokenizer": lambda pipe, value: train_tokenizer(value),
}
DATASETS = {
    "load_reviews": lambda pipe, value: load_reviews(value),
    "evaluate": lambda pipe, value: evaluate(value),
    "train": lambda pipe, value: train(value, "out"),
    "pretrain": lambda pipe, value: pretrain(value, "out"),
    "annotate": lambda pipe, value: annotate(value, "out"),
    "make_loader": lambda pipe, value: make_loader(value, pipe.tokenizer),
}
SURROGATE = "a good \ud83d film"


@pytest.fixture(scope="module")
def pipe():
    return SentimentPipeline.from_pretrained()


@pytest.fixture(scope="module")
def reviews():
    return load_reviews("sample")["train"]


@pytest.mark.parametrize("function", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("wrong", NO_TEXTS, ids=lambda value: type(value).__name__)
def test_what_is_no_text_is_refused_everywhere(pipe, function, wrong):
    with pytest.raises(SentimentError, match=rf"(?i)text.*{type(wrong).__name__}"):
        function(pipe, wrong)


@pytest.mark.parametrize("function", DATASETS.values(), ids=DATASETS)
@pytest.mark.parametrize("wrong", NO_DATASETS, ids=lambda value: type(value).__name__)
def test_what_is_no_data_set_is_refused_everywhere(pipe, function, wrong, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SentimentError, match=r"data set|`split`"):
        function(pipe, wrong)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("wrong", ["a film", None, 5])
def test_a_batch_is_columns(pipe, wrong):
    with pytest.raises(SentimentError, match=rf"`batch`.*{type(wrong).__name__}"):
        pipe.annotate(wrong)


@pytest.mark.parametrize("wrong", ["sample", load_reviews, None, 5], ids=type)
def test_a_loader_takes_a_split_and_a_tokenizer(pipe, reviews, wrong):
    with pytest.raises(SentimentError, match=rf"`split`.*{type(wrong).__name__}"):
        make_loader(wrong, pipe.tokenizer)
    with pytest.raises(SentimentError, match=rf"`tokenizer`.*{type(wrong).__name__}"):
        make_loader(reviews, wrong)


@pytest.mark.parametrize("method", ["trajectory", "explain"])
@pytest.mark.parametrize("wrong", [None, 5, b"good", ["good"]])
def test_what_follows_one_text_takes_one_text(pipe, method, wrong):
    with pytest.raises(SentimentError, match=rf"text.*{type(wrong).__name__}"):
        getattr(pipe, method)(wrong)


@pytest.mark.parametrize("wrong", [None, 5, [1], ["a", None], {"a": "b"}])
def test_a_trace_takes_texts(pipe, wrong):
    with pytest.raises(SentimentError, match=r"(?i)text"):
        pipe.trace(wrong)


def test_a_trace_takes_a_label_for_each_text(pipe):
    with pytest.raises(SentimentError, match=r"2 texts.*1 label"):
        pipe.trace(["a", "b"], labels=[1])


def test_a_lone_surrogate_is_read_everywhere_as_the_pipeline_reads_it(pipe):
    score = pipe(SURROGATE, top_k=None)
    positive = next(answer["score"] for answer in score if answer["label"] == "pos")
    points = pipe.trajectory(SURROGATE)
    assert points[-1].probability == pytest.approx(positive, abs=1e-5)
    assert pipe.trace(SURROGATE)[-1].name == "verdict"
    assert pipe.explain(SURROGATE).probability == pytest.approx(score[0]["score"], abs=1e-5)


def test_a_tokenizer_is_trained_on_lone_surrogates_as_it_reads_them():
    found, read = (
        train_tokenizer([f"{half} a {half}", "a", half] * 2).get_vocab()
        for half in ("\ud800", "\ufffd")
    )
    assert found == read
    assert "\ufffd" in found


@pytest.mark.parametrize("name", ["half \ud800", "zero \0"])
def test_a_name_that_no_file_can_have_is_refused_everywhere(pipe, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for argument, call in {
        "folder": pipe.save_pretrained,
        "model": SentimentPipeline.from_pretrained,
        "cache_dir": lambda name: SentimentPipeline.from_pretrained("ann/model", cache_dir=name),
        "output": lambda name: annotate("sample", name),
        "model ": lambda name: evaluate("sample", name),
    }.items():
        with pytest.raises(SentimentError, match=rf"`{argument.strip()}` '.*no name can have"):
            call(name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("top_k", [-1, 1.5, "2", True])
def test_top_k_is_a_number_of_labels(pipe, top_k):
    with pytest.raises(SentimentError, match="top_k"):
        pipe("a film", top_k=top_k)


@pytest.mark.parametrize("size", [0, -1, 2.5, "8"])
def test_a_batch_has_a_row_at_least(pipe, size, tmp_path):
    for read in (
        lambda: pipe(["a film"], batch_size=size),
        lambda: evaluate("sample", batch_size=size),
        lambda: train("sample", tmp_path / "out", batch_size=size),
        lambda: pretrain("sample", tmp_path / "out", batch_size=size),
    ):
        with pytest.raises(SentimentError, match=rf"batch_size.*{re.escape(repr(size))}"):
            read()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("epochs", 1.5),
        ("epochs", True),
        ("epochs", "two"),
        ("learning_rate", "fast"),
        ("learning_rate", float("nan")),
        ("learning_rate", -0.1),
        ("vocab_size", 2),
        ("vocab_size", 1e4),
        ("seed", -1),
        ("seed", 0.5),
        ("seed", 2**32),
        ("max_samples", 0),
        ("max_samples", "all"),
    ],
)
@pytest.mark.parametrize("function", [train, pretrain])
def test_a_training_refuses_numbers_that_are_none(tmp_path, function, argument, value):
    with pytest.raises(SentimentError, match=f"`{argument}` .*{re.escape(repr(value)[:20])}"):
        function("sample", tmp_path / "out", **{argument: value})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", [2, 1, 0, -1, 3.5, "many"])
def test_a_tokenizer_has_room_for_a_word(size):
    with pytest.raises(SentimentError, match="vocab_size"):
        train_tokenizer(["a good film", "a good play"], size)


def test_a_tokenizer_is_not_trained_on_the_letters_of_one_text():
    with pytest.raises(SentimentError, match="one text"):
        train_tokenizer("a good film and a good play")


@pytest.mark.parametrize("name", [None, 5, ["sample"]])
def test_a_data_set_has_a_name(name):
    with pytest.raises(SentimentError, match=type(name).__name__):
        load_reviews(name)


@pytest.mark.parametrize("function", [load_reviews, train, pretrain, evaluate])
def test_a_misspelt_keyword_is_an_error_as_anywhere_in_python(function, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    output = {} if function in (load_reviews, evaluate) else {"output": "out"}
    with pytest.raises(TypeError, match="text_colum"):
        function("sample", text_colum="text", **output)
    assert not list(tmp_path.iterdir())


def test_a_misspelt_keyword_of_the_hub_is_an_error_too(pipe, tmp_path):
    with pytest.raises(TypeError, match="revison"):
        SentimentPipeline.from_pretrained("user/name", revison="main")
    with pytest.raises(TypeError, match="privat"):
        pipe.push_to_hub("user/name", privat=True)


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (SentimentPipeline.from_pretrained, {"revision", "token", "cache_dir", "force_download"}),
        (SentimentPipeline.push_to_hub, {"private", "branch", "tag", "create_pr", "replace_card"}),
    ],
)
def test_help_shows_the_keywords_of_the_hub(function, names):
    assert names <= set(inspect.signature(function).parameters)


@pytest.mark.parametrize("name", ["", "  "])
def test_a_model_has_a_name(name):
    with pytest.raises(SentimentError, match="needs a name"):
        SentimentPipeline.from_pretrained(name)


def test_a_checkpoint_is_not_saved_onto_a_file(make_pipeline, tmp_path):
    pipe = make_pipeline()
    (tmp_path / "file").write_text("precious")
    for target in (tmp_path / "file", tmp_path / "file" / "below"):
        for saved in (pipe, pipe.network):
            with pytest.raises(SentimentError, match="file"):
                saved.save_pretrained(target)
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [({"batch_size": 0}, "batch_size"), ({"max_length": 0}, "max_length")],
)
def test_a_loader_takes_sizes(reviews, arguments, said):
    with pytest.raises(SentimentError, match=said):
        make_loader(reviews, train_tokenizer(reviews["text"]), **arguments)


def test_a_loader_needs_labels(reviews):
    tokenizer = train_tokenizer(reviews["text"])
    with pytest.raises(SentimentError, match="label"):
        make_loader(reviews.remove_columns("label"), tokenizer)


@pytest.mark.parametrize("value", ["", " ", None, 3])
def test_what_is_no_path_is_not_written_to(make_pipeline, value, tmp_path, monkeypatch):
    """An empty name would be the working directory."""
    monkeypatch.chdir(tmp_path)
    pipe = make_pipeline()
    writers = [
        pipe.save_pretrained,
        pipe.network.save_pretrained,
        lambda folder: train("sample", folder),
        lambda folder: annotate("sample", folder),
    ]
    for write in writers:
        with pytest.raises(SentimentError, match=r"`(folder|output)`"):
            write(value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("model", [3, object(), ["user/name"]])
def test_a_model_is_a_path_or_a_name(model):
    with pytest.raises(SentimentError, match="`model` must be"):
        SentimentPipeline.from_pretrained(model)
    with pytest.raises(SentimentError, match="`model` must be"):
        evaluate("sample", model)
