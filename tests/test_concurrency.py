"""One pipeline in a server: several threads, forked processes, many calls."""

import random
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from sentiment_hf.reading import trace

WORDS = ["a", "good", "film", "not", "bad", "cold", "warm", "and", ",", "zebra"]
CONFIGURATIONS = {
    "article": {"bidirectional": False, "pooling": "last", "max_length": 30},
    "4 labels": {"id2label": dict(enumerate("abcd")), "bidirectional": False, "pooling": "mean"},
    "training": {"num_layers": 2, "dropout": 0.9, "word_dropout": 0.9, "embedding_dropout": 0.9},
}


def some_texts(count: int) -> list[str]:
    dice = random.Random(0)
    return [" ".join(dice.choices(WORDS, k=dice.randint(1, 20))) for _ in range(count)]


@pytest.fixture
def switching():
    """Threads take turns a hundred times as often as they would."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(5e-5)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.parametrize("fields", CONFIGURATIONS.values(), ids=list(CONFIGURATIONS))
def test_every_answer_is_that_of_its_own_call(make_pipeline, switching, fields):
    pipe = make_pipeline(**fields)
    pipe.network.train("dropout" in fields)

    def trace_any(text):
        return trace(pipe.network, torch.tensor([pipe.tokenizer.encode(text).ids]))

    calls = random.Random(1).choices(
        [pipe, pipe.trajectory, pipe.trace, trace_any, pipe.explain], [6, 2, 4, 4, 1], k=500
    )
    questions = list(zip(calls, some_texts(500), strict=True))
    expected = [call(text) for call, text in questions]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda question: question[0](question[1]), questions))
    assert [i for i in range(500) if found[i] != expected[i]] == []
    assert {part.training for part in pipe.network.modules()} == {"dropout" in fields}
