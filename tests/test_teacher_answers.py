"""A teacher's answers are kept, so that nobody waits for them twice."""

from pathlib import Path

import datasets
import numpy as np
import pytest
from datasets import Dataset

from sentiment_hf import SentimentError
from sentiment_hf.training import teacher as teacher_module
from sentiment_hf.training.teacher import kept_answers

TEXTS = [f"a good film {'and good ' * i}" for i in range(7)]


class CountingTeacher:
    """Answers by the length of a text, and fails when it was asked often enough."""

    label_names = ("neg", "pos")

    def __init__(self, calls=99):
        self.calls, self.asked = calls, []

    def probabilities(self, texts):
        if len(self.asked) == self.calls:
            raise KeyboardInterrupt
        self.asked.append(len(texts))
        return expected_answers(texts)


def expected_answers(texts):
    shares = np.array([len(text) for text in texts]) / 100
    return np.stack([1 - shares, shares], axis=1).astype(np.float32)


@pytest.fixture(autouse=True)
def _pieces_of_two(monkeypatch):
    monkeypatch.setattr(teacher_module, "TEXTS_AT_ONCE", 2)


def ask(teacher, checksum="of the teacher", texts=TEXTS):
    data = Dataset.from_dict({"text": list(texts)})
    assert kept_answers(teacher, checksum, data) == pytest.approx(expected_answers(texts))
    return teacher.asked


def test_a_teacher_that_was_cut_off_is_asked_about_the_rest_alone():
    cut_off = CountingTeacher(calls=2)
    with pytest.raises(KeyboardInterrupt):
        ask(cut_off)
    assert cut_off.asked == [2, 2]
    assert ask(CountingTeacher()) == [2, 1]
    assert ask(CountingTeacher()) == []


def test_another_teacher_and_other_texts_are_asked_anew():
    ask(CountingTeacher())
    assert ask(CountingTeacher(), checksum="of another") == [2, 2, 2, 1]
    assert ask(CountingTeacher(), texts=[*TEXTS[:2], "another", *TEXTS[3:]]) == [2]
    assert ask(CountingTeacher(), texts=["a", "bc"]) == [2]
    assert ask(CountingTeacher(), texts=["ab", "c"]) == [2]
    assert ask(CountingTeacher(), texts=[]) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-5],
        lambda content: b"",
        lambda content: content[:-4] + bytes(4),
        lambda content: b"PK" + content[2:],
    ],
    ids=["cut", "empty", "zeros", "other"],
)
def test_answers_that_are_kept_in_half_do_not_count(damage):
    ask(CountingTeacher())
    kept = list((Path(datasets.config.HF_DATASETS_CACHE) / "teacher_answers").iterdir())
    assert len(kept) == 4
    for path in kept[:2]:
        path.write_bytes(damage(path.read_bytes()))
    assert len(ask(CountingTeacher())) == 2
    assert ask(CountingTeacher()) == []


def test_no_answers_are_written_beside_the_users_data(tmp_path):
    Dataset.from_dict({"text": TEXTS}).save_to_disk(tmp_path / "data")
    before = sorted((tmp_path / "data").iterdir())
    kept_answers(CountingTeacher(), "checksum", Dataset.load_from_disk(tmp_path / "data"))
    assert sorted((tmp_path / "data").iterdir()) == before


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "file" / "cache")
    with pytest.raises(SentimentError, match=r"cache of data sets.*HF_DATASETS_CACHE") as caught:
        ask(CountingTeacher())
    assert caught.value.exit_status == 1
