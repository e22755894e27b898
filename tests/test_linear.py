"""Teachers that are no network: what they learn from, and what they must not have seen."""

import numpy as np
import pytest
from datasets import Dataset

from sentiment_hf import train_tokenizer
from sentiment_hf.data.batching import EncodedRows
from sentiment_hf.training import linear, lsa, ngrams
from sentiment_hf.training.lsa import lsa_answers
from sentiment_hf.training.ngrams import ngram_answers


def answers_of_ngrams(texts, own, others=()):
    """What n-grams answer to whole texts."""
    tokenizer = train_tokenizer(texts)
    rows = EncodedRows.from_split(Dataset.from_dict({"text": texts}), tokenizer, None)
    own = np.asarray(own, dtype=np.float32)
    size = tokenizer.get_vocab_size()
    return ngram_answers(rows, own, list(others), np.arange(len(texts)), size)


def test_ngrams_learn_what_runs_of_words_say():
    base = ["not good", "good", "a good film", "not bad", "bad", "a bad film"]
    texts = [f"{i} {text}" for i in range(20) for text in base]
    answers = answers_of_ngrams(texts, [0, 1, 1, 1, 0, 0] * 20)
    assert answers.dtype == np.float32
    assert (answers.reshape(20, 6).round() == [0, 1, 1, 1, 0, 0]).all()


def test_no_row_is_judged_by_a_model_that_has_seen_it():
    texts = [f"film {i} {i}" for i in range(200)]
    labels = np.random.default_rng(0).integers(0, 2, 200)
    answers = answers_of_ngrams(texts, labels)
    # The numbers stand in one row each: by heart, every label would be known.
    assert ((answers > 0.5) == labels).mean() < 0.7


def test_a_piece_is_judged_by_a_model_that_has_not_seen_its_text():
    texts = [f"film {i} {i}" for i in range(200)]
    tokenizer = train_tokenizer(texts)
    labels = np.random.default_rng(0).integers(0, 2, 200)
    pieces = Dataset.from_dict({"text": [*texts, *(f"{i} {i}" for i in range(200))]})
    rows = EncodedRows.from_split(pieces, tokenizer, None)
    origins = np.concatenate([np.arange(200), np.arange(200)])
    own = labels.astype(np.float32)
    answers = ngram_answers(rows, own, [], origins, tokenizer.get_vocab_size())
    assert ((answers[200:] > 0.5) == labels).mean() < 0.7


def test_ngrams_take_up_what_the_others_say_of_texts_without_labels():
    labelled = [f"{i} {word} film" for i in range(20) for word in ("good", "bad")]
    more = [f"{i} {word} play" for i in range(20) for word in ("superb", "dull")]
    says = np.array([0.5, 0.5] * 20 + [0.95, 0.05] * 20, dtype=np.float32)
    answers = answers_of_ngrams([*labelled, *more], [1, 0] * 20, [says])
    alone = answers_of_ngrams([*labelled, *more], [1, 0] * 20)
    assert answers[40::2].min() > 0.6
    assert answers[41::2].max() < 0.4
    assert alone[40:] == pytest.approx(0.5, abs=0.05)


def test_ngrams_learn_from_soft_labels_and_from_three_classes():
    texts = [f"{i} {word}" for i in range(20) for word in ("bad", "fair", "good")]
    soft = answers_of_ngrams(texts, [0.1, 0.5, 0.8] * 20)
    assert soft.reshape(20, 3) == pytest.approx(np.array([[0.1, 0.5, 0.8]] * 20), abs=0.05)
    # The fourth label has no row of its own.
    answers = answers_of_ngrams(texts, np.eye(4)[[0, 1, 2] * 20])
    assert answers.argmax(axis=1).tolist() == [0, 1, 2] * 20
    assert answers.sum(axis=1) == pytest.approx(1)
    assert answers[:, 3].max() < 0.01


def test_equal_texts_and_rows_of_a_rare_label_are_judged_fairly():
    # Each text stands twice, far apart: the other one must not give its label away.
    texts = [f"film {i} {i}" for i in range(200)] * 2
    labels = np.random.default_rng(0).integers(0, 2, 200)
    answers = answers_of_ngrams(texts, [*labels, *labels])
    assert ((answers > 0.5) == [*labels, *labels]).mean() < 0.7
    # All of a label's rows are neighbours, and few.
    answers = answers_of_ngrams(
        [*(f"dull {i} {i}" for i in range(190)), *(f"warm {i} {i}" for i in range(10))],
        [0] * 190 + [1] * 10,
    )
    assert answers[190:].min() > answers[:190].max()


def test_words_that_stand_nowhere_else_say_nothing():
    many = ngrams.MANY_TEXTS
    rows = EncodedRows(np.arange(many) + 2, np.arange(many), np.arange(many) + 1)
    own = np.tile([0, 1], many // 2).astype(np.float32)
    answers = ngram_answers(rows, own, [], np.arange(many), many + 2)
    assert answers == pytest.approx(0.5, abs=0.05)


def test_runs_do_not_reach_from_one_row_into_the_next():
    rows = EncodedRows(np.array([2, 3, 4, 5]), np.array([0, 2]), np.array([2, 4]))
    runs, places = linear._runs(rows, 2, 10)
    assert (runs.tolist(), places.tolist()) == ([23, 45], [0, 1])


def answers_of_lsa(texts, own, pieces=(), origins=()):
    """What lsa answers to whole texts, and to pieces of those that `origins` names."""
    tokenizer = train_tokenizer(texts)
    split = Dataset.from_dict({"text": [*texts, *pieces]})
    rows = EncodedRows.from_split(split, tokenizer, None)
    own = np.asarray(own, dtype=np.float32)
    whose = np.array([*range(len(texts)), *origins])
    return lsa_answers(rows, own, whose, tokenizer.get_vocab_size())


def opinions(count, seed=0):
    """Texts of ten words of one opinion each, and the opinions, 0 or 1 in turn."""
    dice = np.random.default_rng(seed)
    words = [[f"{kind}{i}" for i in range(30)] for kind in ("dull", "warm")]
    texts = [" ".join(dice.choice(words[i % 2], 10, replace=False)) for i in range(count)]
    return texts, [i % 2 for i in range(count)]


def test_lsa_knows_a_word_without_a_label_by_the_words_around_it(monkeypatch):
    # With as many as there are words, each would stand for itself.
    monkeypatch.setattr(lsa, "DIMENSIONS", 3)
    labelled = [f"{word} film" for word in ("good", "bad")] * 10
    linking = ["good superb", "superb fine", "good fine", "bad dull", "dull flat", "bad flat"] * 20
    asked = ["superb play", "dull play", "fine", "flat"]
    answers = answers_of_lsa([*labelled, *linking, *asked], [1, 0] * 10)
    assert answers.dtype == np.float32
    assert (answers[-4:].round() == [1, 0, 1, 0]).all()
    again = answers_of_lsa([*labelled, *linking, *asked], [1, 0] * 10)
    assert (again == answers).all()


def test_lsa_learns_from_soft_labels_and_from_three_classes():
    texts = [word for _ in range(20) for word in ("bad", "fair", "good")]
    soft = answers_of_lsa(texts, [0.1, 0.5, 0.8] * 20)
    assert soft.reshape(20, 3) == pytest.approx(np.array([[0.1, 0.5, 0.8]] * 20), abs=0.05)
    answers = answers_of_lsa(texts, np.eye(4)[[0, 1, 2] * 20])
    assert answers.argmax(axis=1).tolist() == [0, 1, 2] * 20
    assert answers.sum(axis=1) == pytest.approx(1)
    assert answers[:, 3].max() < 0.01


@pytest.mark.parametrize("texts", [["good", "bad"], ["same", "same"], ["good", "bad", "", "?"]])
def test_lsa_gives_probabilities_where_there_is_next_to_nothing_to_learn_from(texts):
    answers = answers_of_lsa(texts, [1, 0])
    assert answers.shape == (len(texts),)
    assert ((answers > 0) & (answers < 1)).all()


@pytest.mark.parametrize("more", [[], [""], "again"], ids=["distinct", "an empty text", "twice"])
def test_lsa_judges_pieces_by_what_stands_in_them(more):
    texts, opinion = opinions(60)
    pieces = [text[: len(text) // 2].rpartition(" ")[0] for text in texts]
    texts += texts if more == "again" else more
    answers = answers_of_lsa(texts, opinion, pieces, range(60))
    sure = np.where(opinion, answers[-60:], 1 - answers[-60:])
    assert sure.min() > 0.6
    assert sure.mean() > 0.75


def test_pieces_change_nothing_in_what_lsa_learns():
    texts, opinion = opinions(200)
    alone = answers_of_lsa(texts, opinion[:50])
    pieces = [text.split()[0] for text in texts[:100]] * 3
    beside = answers_of_lsa(texts, opinion[:50], pieces, [*range(100)] * 3)
    assert beside[:200] == pytest.approx(alone, abs=1e-4)


def test_lsa_reads_pairs_of_words():
    texts = ["not good", "good", "not bad", "bad"] * 20
    answers = answers_of_lsa(texts, [0, 1, 1, 0] * 20)
    assert (answers.reshape(20, 4).round() == [0, 1, 1, 0]).all()
