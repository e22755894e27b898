"""The answer after each word of a text."""

import random
import re
import time

import numpy as np
import pytest
import reading_networks
import torch
from reading_networks import ARTICLE, answer, ids_of
from torch.testing import assert_close

from sentiment_hf.reading.terminal import render_trajectory
from sentiment_hf.reading.trajectory import Point

make = reading_networks.make
pipe = reading_networks.pipe


@pytest.mark.parametrize("temperature", [1.0, 1.7])
def test_the_row_of_the_articles_grid_is_the_trajectory(make, temperature):
    pipe = make(**ARTICLE | {"max_length": 6, "temperature": temperature})
    points = torch.tensor([p.probability for p in pipe.trajectory("not a good film , warm")])
    (row,) = pipe.trace(["not a good film , warm"])[-2].values
    assert_close(torch.tensor(row), points, atol=1e-5, rtol=0)
    assert points.std() > 0.01


def test_a_trajectory_is_the_answer_to_every_prefix(pipe):
    text = "Not a GOOD film,\n warm and zebra. It isn't bad ! and cold"
    words = ["Not", "a", "GOOD", "film", ",", "warm", "and", "zebra", ".", "It", "is", "n't"]
    ends = [end for _, end in pipe.tokenizer.encode(text).offsets]
    points, names = pipe.trajectory(text), pipe.config.label_names
    assert [point.word for point in points] == [*words, "bad", "!", "and", "cold"]
    label = names[1] if len(names) == 2 else pipe(text)[0]["label"]
    for point, end in zip(points, ends, strict=True):
        scores = {one["label"]: one["score"] for one in pipe(text[:end], top_k=None)}
        assert point.probability == pytest.approx(scores[label], abs=1e-5)


def test_five_thousand_words_give_two_hundred_points_evenly_spaced_that_cover_the_text(make):
    pipe, dice = make(), random.Random(0)
    words = dice.choices(["good", "bad", "zebra", "not", "film"], k=5000)
    points = pipe.trajectory(" ".join(words))
    assert " ".join(point.word for point in points) == " ".join(words)
    counts = [len(point.word.split()) for point in points]
    assert len(points) == 200
    assert counts[0] <= max(counts) <= min(counts[1:]) + 1
    for number, read in list(enumerate(np.cumsum(counts)))[199::-33]:
        expected = answer(pipe, ids_of(pipe, " ".join(words[:read])))[1]
        assert points[number].probability == pytest.approx(float(expected), abs=1e-5)


def test_the_trajectory_of_two_hundred_words_takes_well_under_a_second(make):
    pipe, threads, seconds = make(embedding_dim=128, hidden_size=128), torch.get_num_threads(), []
    torch.set_num_threads(1)
    for _ in range(3):
        start = time.process_time()  # Other jobs on the processor do not count.
        assert len(pipe.trajectory("a good film and " * 50)) == 200
        seconds.append(time.process_time() - start)
    torch.set_num_threads(threads)
    assert min(seconds) < 1


@pytest.mark.parametrize("count", [1, 2, 71, 143, 144, 200])
def test_a_line_of_bars_fits_the_terminal_and_ends_at_the_last_answer(count):
    points = [Point("word", 0.01)] * (count - 1) + [Point("word", 0.99)]
    text, bars = render_trajectory(points, ("neg", "pos"), colour=False).splitlines()
    assert text.split() == ["word"] * count
    assert re.match("▁{0,79}█ ", bars)
