"""Soft labels from a teacher: which texts, which targets, and what the student makes of them."""

import json

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value, concatenate_datasets
from torch.optim.optimizer import register_optimizer_step_post_hook

from sentiment_hf import SentimentError, SentimentPipeline, train
from sentiment_hf.data.batching import EncodedRows
from sentiment_hf.model.inference import predict_logits
from sentiment_hf.training import loop
from sentiment_hf.training.rows import LabelledRows, TrainingRows, read_training_rows
from sentiment_hf.training.teacher import TEACHER_SHARE, Teaching, rows_with_targets
from sentiment_hf.training.transfer_set import sentences_of, transfer_set

NAMES = {0: "neg", 1: "pos"}


def split(texts, labels, names=("neg", "pos")):
    features = Features({"text": Value("string"), "label": ClassLabel(names=list(names))})
    return Dataset.from_dict({"text": texts, "label": labels}, features=features)


def of_one_data_set(labelled, names=NAMES, unlabelled=None, repeats=1):
    own = LabelledRows("own", labelled, labelled, summary={}, repeats=repeats)
    return TrainingRows([own], list(names.values()), unlabelled)


@pytest.fixture
def labelled():
    return split(["a good film. a bad end! warm", "cold and bad", "good"], [1, 0, 1])


@pytest.fixture
def unlabelled():
    return Dataset.from_dict({"text": ["warm and good.<br />not bad at all", "cold"]})


@pytest.fixture
def teacher(make_pipeline, tmp_path):
    """A checkpoint folder, as a pipeline."""
    pipe = make_pipeline(id2label=NAMES)
    with torch.no_grad():  # Untrained, it would give every text nearly the same answer.
        pipe.network.linear.weight *= 30
    pipe.save_pretrained(tmp_path / "teacher")
    return pipe


@pytest.fixture
def teach(teacher, tmp_path):
    """Asks that teacher, or others: `teach(rows, sentences=5)`."""

    def ask(rows, teachers=None, sentences=None, label_map=None):
        teaching = Teaching(teachers or [tmp_path / "teacher"], [], sentences, label_map or {})
        return rows_with_targets(teaching, rows, teacher.tokenizer)

    return ask


@pytest.fixture
def asked(monkeypatch):
    """How many texts a teacher was asked about, a number a call."""
    counts = []
    answer = SentimentPipeline.probabilities
    monkeypatch.setattr(
        SentimentPipeline,
        "probabilities",
        lambda self, texts: counts.append(len(texts)) or answer(self, texts),
    )
    return counts


def test_own_labels_are_mixed_with_the_teachers_answers_and_the_rest_is_the_teachers(
    teach, teacher, labelled, unlabelled
):
    rows = teach(of_one_data_set(labelled, unlabelled=unlabelled))
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


def test_the_labelled_rows_of_a_small_data_set_are_repeated_and_their_sentences_are_not(
    teach, labelled
):
    once, thrice = (teach(of_one_data_set(labelled, repeats=n)) for n in (1, 3))
    assert len(thrice) == len(once) + 2 * len(labelled)
    assert thrice.labels[3:6] == pytest.approx(once.labels[:3])


def test_of_several_teachers_the_mean_is_learnt(teach, make_pipeline, labelled, tmp_path):
    make_pipeline(seed=1, id2label=NAMES).save_pretrained(tmp_path / "other")
    rows = of_one_data_set(labelled)
    both = [tmp_path / "teacher", tmp_path / "other"]
    one, other, mean = (teach(rows, teachers).labels for teachers in (both[:1], both[1:], both))
    assert not np.allclose(one, other, atol=1e-3)
    assert mean == pytest.approx((one + other) / 2, abs=1e-6)


def test_a_teacher_that_numbers_its_labels_otherwise_is_understood_by_name(
    teach, labelled, unlabelled
):
    rows = teach(of_one_data_set(labelled, unlabelled=unlabelled))
    turned = split(labelled["text"], [1 - label for label in labelled["label"]], ("pos", "neg"))
    other = teach(of_one_data_set(turned, {0: "pos", 1: "neg"}, unlabelled))
    assert other.labels == pytest.approx(1 - rows.labels, abs=1e-6)


def test_three_labels_have_a_probability_each(teach, make_pipeline, tmp_path):
    names = {0: "bad", 1: "mixed", 2: "good"}
    rows = split(["good", "bad"], [2, 0], names.values())
    pipe = make_pipeline(id2label=names)
    pipe.save_pretrained(tmp_path / "three")
    targets = teach(of_one_data_set(rows, names), [tmp_path / "three"]).labels
    answers = pipe.probabilities(["good", "bad"]).numpy()
    assert targets == pytest.approx((answers + np.eye(3)[[2, 0]]) / 2, abs=1e-6)


def test_a_teacher_of_other_labels_is_refused_unless_a_map_translates_them(
    teach, make_pipeline, labelled, tmp_path
):
    pipe = make_pipeline(id2label={0: "glad", 1: "sad"})
    pipe.save_pretrained(tmp_path / "sad")
    rows = of_one_data_set(labelled)
    with pytest.raises(SentimentError, match=r"'glad', 'sad'.*'neg', 'pos'.*teacher_label_map"):
        teach(rows, [tmp_path / "sad"])
    with pytest.raises(SentimentError, match=r"'happy'.*'glad', 'sad'"):
        teach(rows, [tmp_path / "sad"], label_map={"happy": "pos"})
    targets = teach(rows, [tmp_path / "sad"], label_map={"glad": "pos", "sad": "neg"}).labels
    expected = (pipe.probabilities(["good"])[0, 0].item() + 1) / 2
    assert targets[2] == pytest.approx(expected, abs=1e-6)


STARS = {i: f"{i + 1} star{'s' * (i > 0)}" for i in range(5)}
STARS_AS_OURS = {
    "1 star": "neg",
    "2 stars": "NEG",
    "3 stars": "",
    "4 stars": "pos",
    "5 stars": "pos",
}


@pytest.fixture
def five_stars(make_pipeline, tmp_path):
    pipe = make_pipeline(id2label=STARS)
    pipe.save_pretrained(tmp_path / "stars")
    return pipe


def test_labels_that_become_one_are_added_and_a_dropped_one_leaves_the_rest_normalised(
    teach, five_stars, unlabelled, tmp_path
):
    rows = of_one_data_set(split(["good"], [1]), unlabelled=unlabelled)
    targets = teach(rows, [tmp_path / "stars"], label_map=STARS_AS_OURS).labels
    answers = five_stars.probabilities(unlabelled["text"][:]).numpy()
    bad, good = answers[:, :2].sum(axis=1), answers[:, 3:].sum(axis=1)
    assert targets[1:3] == pytest.approx(good / (bad + good), abs=1e-6)


def test_an_answer_of_which_nothing_is_left_says_nothing(
    teach, five_stars, unlabelled, tmp_path, monkeypatch
):
    answers = np.array([[0, 0, 1, 0, 0], [0, 0, 0.8, 0.2, 0]], dtype=np.float32)
    monkeypatch.setattr(SentimentPipeline, "probabilities", lambda self, texts: answers)
    rows = of_one_data_set(split(["good", "bad"], [1, 0]))
    targets = teach(rows, [tmp_path / "stars"], sentences=0, label_map=STARS_AS_OURS).labels
    assert targets == pytest.approx([(0.5 + 1) / 2, 0.5])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"3 stars": "mixed"}, r"'neg', 'NEG', 'mixed', 'pos', 'pos'.*the data's 'neg', 'pos'"),
        ({"4 stars": "", "5 stars": ""}, r"'neg', 'NEG'.*the data's 'neg', 'pos'.*for 'pos'"),
        (dict.fromkeys(STARS.values(), ""), r"'1 star', .*the data's 'neg', 'pos'"),
    ],
)
def test_every_label_is_dropped_or_ours_and_ours_are_all_there(
    teach, five_stars, labelled, tmp_path, changes, words
):
    with pytest.raises(SentimentError, match=words):
        teach(of_one_data_set(labelled), [tmp_path / "stars"], label_map=STARS_AS_OURS | changes)


@pytest.mark.parametrize("source", ["folder", "memory"])
def test_the_teacher_is_asked_once_for_the_same_texts(teach, tmp_path, asked, source):
    columns = ["good. bad", "cold. warm", "bad"], [1, 0, 0]
    split(*columns).save_to_disk(tmp_path / "data")
    for _ in range(2):
        folder = tmp_path / "data"
        teach(
            of_one_data_set(
                Dataset.load_from_disk(folder) if source == "folder" else split(*columns)
            )
        )
    assert asked == [3, 3]  # Whole texts, and "good", "cold" and "warm"; "bad" is a whole one.


def test_another_teacher_is_asked_anew_and_its_checksum_is_taken_once(
    teach, make_pipeline, tmp_path, asked, monkeypatch
):
    make_pipeline(seed=1, id2label=NAMES).save_pretrained(tmp_path / "other")
    taken = []
    checksum = SentimentPipeline.checksum
    monkeypatch.setattr(
        SentimentPipeline, "checksum", lambda self: taken.append(1) or checksum(self)
    )
    texts = ["a good film. a bad end", "good"], [1, 0]
    teach(of_one_data_set(split(*texts)), [tmp_path / "teacher", tmp_path / "other"])
    assert asked == [2, 2, 2, 2]
    assert len(taken) == 2


def test_a_training_that_resumes_does_not_ask_again(
    easy_csv, teacher, tmp_path, asked, monkeypatch
):
    def cut(*_):
        if (tmp_path / "out/training_state/state.json").exists():
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "SAVE_EVERY_SECONDS", -1.0)
    options = {"teacher": tmp_path / "teacher", "epochs": 1, "batch_size": 60}
    hook = register_optimizer_step_post_hook(cut)
    try:
        with pytest.raises(KeyboardInterrupt):
            train(easy_csv, tmp_path / "out", show_progress=False, **options)
    finally:
        hook.remove()
    assert sum(asked) == 180
    train(easy_csv, tmp_path / "out", show_progress=False, resume=True, **options)
    assert sum(asked) == 180


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
    read = read_training_rows([reviews], ["unsupervised"], 0, {})
    texts = set(read.unlabelled["text"])
    (own,) = read.labelled
    assert not texts & set(own.validation["text"])
    assert not any("test" in text for text in texts)
    assert len(texts) == 20 + len(own.train)
    assert read_training_rows([reviews], [], 0, {}).unlabelled is None


def test_a_student_learns_what_its_teacher_knows(reviews, tmp_path, run):
    options = ["--epochs", 12, "--batch-size", 16, "--learning-rate", 0.01, "--quiet"]
    assert run("train", reviews, "--output", tmp_path / "teacher", *options).exit_code == 0
    options += ["--teacher", tmp_path / "teacher", "--unlabelled-split", "unsupervised"]
    options += ["--sentences", 7]
    result = run("train", reviews, "--output", tmp_path / "student", *options)
    assert result.exit_code == 0, result.stderr
    record = json.loads((tmp_path / "student/training.json").read_text())
    assert record["arguments"]["teacher"] == "teacher"
    assert record["arguments"]["unlabelled_split"] == "unsupervised"
    assert record["arguments"]["sentences"] == 7
    assert record["data"]["unlabelled_rows"] == 20 + record["data"]["train_rows"]
    assert record["validation_accuracy"] > 0.8
    card = (tmp_path / "student/README.md").read_text()
    assert "| teacher | teacher |" in card


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--unlabelled-split", "unsupervised"], ["--unlabelled-split", "--teacher"]),
        (["--sentences", "9"], ["--sentences", "--teacher"]),
        (["--teacher-label-map", "a=pos"], ["--teacher-label-map", "--teacher"]),
        (["--teacher", "nowhere/at/all"], ["nowhere"]),
        (["--teacher", "reference", "--sentences", "-1"], ["--sentences"]),
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


# The transfer set.

LONG = "Good! It was long, slow and warm, but never dull. I (mostly) liked it.<br />Cold end... Ha"


def test_sentences_end_where_a_reader_sees_their_end():
    found = sentences_of('Good! Bad?<br /><br />So so... "Dr." No\nand on')
    assert found == ["Good!", "Bad?", "So so...", '"Dr.', "No", "and on"]


def test_the_transfer_set_holds_sentences_and_pieces_and_no_whole_text():
    texts = Dataset.from_dict({"text": [LONG, "Good!", "one sentence alone", LONG, "", "1. 2. 3."]})
    pieces = transfer_set(texts, 1000)["text"][:]
    assert "Cold end..." in pieces
    assert "but never dull." in pieces, "a clause"
    assert any(". " in piece for piece in pieces), "two sentences together"
    assert "Ha" in pieces
    assert len(set(pieces)) == len(pieces)
    assert not set(pieces) & set(texts["text"])
    assert not any(piece.isdigit() for piece in pieces)


def test_sentences_bound_the_transfer_set_and_the_seed_draws_it():
    texts = Dataset.from_dict({"text": [f"Film {i} is good. Film {i} is bad." for i in range(50)]})
    drawn = [transfer_set(texts, 30, seed)["text"][:] for seed in (0, 0, 1)]
    assert len(drawn[0]) == 30
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn[0] == [piece for piece in transfer_set(texts, 1000)["text"] if piece in drawn[0]]
    assert not len(transfer_set(texts, 0))


@pytest.mark.parametrize("sentences", [None, 0, 2])
def test_a_teacher_is_asked_about_so_many_sentences_and_pieces(teach, labelled, sentences):
    rows = teach(of_one_data_set(labelled), sentences=sentences)
    pieces = len(transfer_set(labelled.select_columns(["text"]), 1000))
    assert pieces > 2
    assert len(rows) == 3 + (pieces if sentences is None else sentences)


def test_texts_of_one_sentence_have_no_pieces(teach):
    assert len(teach(of_one_data_set(split(["good", "bad"], [1, 0])))) == 2
