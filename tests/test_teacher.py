"""Soft labels from a teacher: which texts, which targets, and what the student makes of them."""

import json

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value, concatenate_datasets

from sentiment_hf import SentimentError, train_tokenizer
from sentiment_hf.data.batching import EncodedRows
from sentiment_hf.model.inference import predict_logits
from sentiment_hf.training import teacher as teaching
from sentiment_hf.training.lsa import lsa_answers
from sentiment_hf.training.ngrams import ngram_answers
from sentiment_hf.training.rows import read_training_rows
from sentiment_hf.training.teacher import LINEAR_TEACHERS, TEACHER_SHARE, is_linear, taught

NAMES = {0: "neg", 1: "pos"}
FEATURES = Features({"text": Value("string"), "label": ClassLabel(names=["neg", "pos"])})


def split(texts, labels):
    return Dataset.from_dict({"text": texts, "label": labels}, features=FEATURES)


@pytest.fixture
def labelled():
    return split(["a good film. a bad end! warm", "cold and bad", "good"], [1, 0, 1])


@pytest.fixture
def unlabelled():
    return Dataset.from_dict({"text": ["warm and good.<br />not bad at all", "cold"]})


@pytest.fixture
def teacher(make_pipeline):
    pipe = make_pipeline(id2label=NAMES)
    with torch.no_grad():  # Untrained, it would give every text nearly the same answer.
        pipe.network.linear.weight *= 30
    return pipe


def test_own_labels_are_mixed_with_the_teachers_answers_and_the_rest_is_the_teachers(
    teacher, labelled, unlabelled
):
    rows = taught([teacher], labelled, unlabelled, NAMES, 0, teacher.tokenizer)
    whole = EncodedRows.from_split(
        concatenate_datasets([labelled.select_columns(["text"]), unlabelled]),
        teacher.tokenizer,
        None,
    )
    assert [list(rows[i]) for i in range(5)] == [list(whole[i]) for i in range(5)]
    answers = teacher.network.probabilities(predict_logits(teacher.network, rows)).numpy()
    own = np.array(labelled["label"])
    mixed = TEACHER_SHARE * answers[:3, 1] + (1 - TEACHER_SHARE) * own
    assert rows.labels[:3] == pytest.approx(mixed, abs=1e-6)
    assert rows.labels[3:] == pytest.approx(answers[3:, 1], abs=1e-6)
    assert len(set(rows.labels.round(3))) > 4


def test_pieces_are_neighbouring_sentences_of_the_texts(teacher, labelled, unlabelled):
    rows = taught([teacher], labelled, unlabelled, NAMES, 0, teacher.tokenizer)
    assert len(rows) == 5 + 2, "a text of one sentence has no piece"
    for piece, source in ((5, 0), (6, 3)):
        words, whole = list(rows[piece]), list(rows[source])
        assert any(whole[i : i + len(words)] == words for i in range(len(whole)))
    again = taught([teacher], labelled, unlabelled, NAMES, 0, teacher.tokenizer)
    assert again.tokens.tolist() == rows.tokens.tolist()


def test_a_teacher_that_numbers_its_labels_otherwise_is_understood_by_name(
    teacher, labelled, unlabelled
):
    names = {0: "pos", 1: "neg"}
    turned = split(labelled["text"], [1 - label for label in labelled["label"]])
    rows = taught([teacher], labelled, unlabelled, NAMES, 0, teacher.tokenizer)
    other = taught([teacher], turned, unlabelled, names, 0, teacher.tokenizer)
    assert other.labels == pytest.approx(1 - rows.labels, abs=1e-6)


def test_three_labels_have_a_probability_each(make_pipeline):
    names = {0: "bad", 1: "mixed", 2: "good"}
    features = Features({"text": Value("string"), "label": ClassLabel(names=list(names.values()))})
    rows = Dataset.from_dict({"text": ["good", "bad"], "label": [2, 0]}, features=features)
    pipe = make_pipeline(id2label=names)
    targets = taught([pipe], rows, None, names, 0, pipe.tokenizer).labels
    answers = pipe.probabilities(["good", "bad"]).numpy()
    assert targets == pytest.approx((answers + np.eye(3)[[2, 0]]) / 2, abs=1e-6)


def test_a_teacher_of_other_labels_is_refused(make_pipeline, labelled):
    pipe = make_pipeline(id2label={0: "sad", 1: "glad"})
    with pytest.raises(SentimentError, match=r"'neg'.*'glad'"):
        taught([pipe], labelled, None, NAMES, 0, pipe.tokenizer)


def test_the_teacher_is_asked_once_for_the_same_texts(tmp_path, teacher, monkeypatch):
    path = tmp_path / "data"
    DatasetDict(train=split(["good. bad", "cold. warm", "bad"], [1, 0, 0])).save_to_disk(path)
    asked = []
    answer = type(teacher).probabilities
    monkeypatch.setattr(
        type(teacher), "probabilities", lambda *args: asked.append(1) or answer(*args)
    )
    for _ in range(2):
        rows = Dataset.load_from_disk(path / "train")
        taught([teacher], rows, None, NAMES, 0, teacher.tokenizer)
    assert len(asked) == 1


@pytest.fixture
def reviews(tmp_path):
    """80 easy labelled rows, and texts without labels that repeat test and training texts."""
    rows = [f"a {word} film {i} {i}" for i in range(40) for word in ("bad", "good")]
    test = [f"a good test {i}" for i in range(9)]
    more = [f"a {('bad', 'good')[i % 2]} play {i} {i}" for i in range(20)]
    path = tmp_path / "data"
    DatasetDict(
        train=split(rows, [0, 1] * 40),
        test=split(test, [1] * 9),
        unsupervised=split(more + test + rows, [-1] * 109),
    ).save_to_disk(path)
    return path


def test_no_test_text_and_no_validation_text_is_taught(reviews):
    read = read_training_rows(reviews, "unsupervised", 0, {})
    texts = set(read.unlabelled["text"])
    assert not texts & set(read.validation["text"])
    assert not any("test" in text for text in texts)
    assert len(texts) == 20 + len(read.train)
    assert read_training_rows(reviews, None, 0, {}).unlabelled is None


def test_a_student_learns_what_its_teacher_knows(reviews, tmp_path, run):
    options = ["--epochs", 12, "--batch-size", 16, "--learning-rate", 0.01, "--quiet"]
    assert run("train", reviews, "--output", tmp_path / "teacher", *options).exit_code == 0
    options += ["--teacher", tmp_path / "teacher", "--unlabelled-split", "unsupervised"]
    result = run("train", reviews, "--output", tmp_path / "student", *options)
    assert result.exit_code == 0, result.stderr
    record = json.loads((tmp_path / "student/training.json").read_text())
    assert record["arguments"]["teacher"] == "teacher"
    assert record["arguments"]["unlabelled_split"] == "unsupervised"
    assert record["data"]["unlabelled_rows"] == 20 + record["data"]["train_rows"]
    assert record["validation_accuracy"] > 0.8
    card = (tmp_path / "student/README.md").read_text()
    assert "| teacher | teacher |" in card


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--unlabelled-split", "unsupervised"], ["--teacher"]),
        (["--teacher", "nowhere/at/all"], ["nowhere"]),
        (["--teacher", "reference", "--unlabelled-split", "more"], ["'more'", "unsupervised"]),
    ],
)
def test_what_cannot_be_taught_is_one_sentence(reviews, tmp_path, run, options, words):
    result = run("train", reviews, "--output", tmp_path / "out", *options)
    assert result.exit_code == 2
    last = result.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert all(word in last for word in words), last
    assert not (tmp_path / "out").exists()


def test_sentences_end_where_a_reader_sees_their_end():
    parts = teaching.SENTENCE_END.split("Good! Bad?<br /><br />So so... Dr. No")
    assert [part for part in parts if part] == ["Good!", "Bad?", "So so...", "Dr.", "No"]


@pytest.mark.parametrize("name", LINEAR_TEACHERS)
def test_a_folder_of_a_linear_teachers_name_is_a_checkpoint(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_linear(name)
    assert not is_linear(tmp_path / name)
    (tmp_path / name).mkdir()
    assert not is_linear(name)


def test_linear_teachers_are_asked_and_ngrams_hear_what_the_others_say(monkeypatch):
    words = ["good film. warm end", "bad film. cold end"]
    labelled = split(words * 10, [1, 0] * 10)
    unlabelled = Dataset.from_dict({"text": [f"{i} {text}" for i in range(5) for text in words]})
    tokenizer = train_tokenizer([*labelled["text"], *unlabelled["text"]])
    heard = []

    def listen(rows, own, others, origins, vocab_size):
        heard.extend(others)
        return ngram_answers(rows, own, others, origins, vocab_size)

    monkeypatch.setattr(teaching, "ngram_answers", listen)

    rows = taught([], labelled, unlabelled, NAMES, 0, tokenizer, linear=["lsa"])
    # Each text has one piece, in the same order.
    origins = np.concatenate([np.arange(30), np.arange(30)])
    own = np.array([1, 0] * 10, dtype=np.float32)
    says = lsa_answers(rows, own, origins, tokenizer.get_vocab_size())
    assert rows.labels[20:] == pytest.approx(says[20:])
    assert not heard
    both = taught([], labelled, unlabelled, NAMES, 0, tokenizer, linear=["ngrams", "lsa"])
    (lsa,) = heard
    assert lsa == pytest.approx(says)
    told = ngram_answers(rows, own, [says], origins, tokenizer.get_vocab_size())
    assert both.labels[20:] == pytest.approx((says + told)[20:] / 2)


@pytest.mark.parametrize("names", [["ngrams"], ["lsa"], ["lsa", "ngrams"]])
def test_linear_teachers_teach_what_they_learnt_from_the_labelled_rows(
    names, reviews, tmp_path, run
):
    options = ["--unlabelled-split", "unsupervised", "--quiet"]
    for name in names:
        options += ["--teacher", name]
    options += ["--epochs", 12, "--batch-size", 16, "--learning-rate", 0.01]
    result = run("train", reviews, "--output", tmp_path / "student", *options)
    assert result.exit_code == 0, result.stderr
    record = json.loads((tmp_path / "student/training.json").read_text())
    assert record["arguments"]["teacher"] == ", ".join(names)
    assert record["validation_accuracy"] > 0.8
