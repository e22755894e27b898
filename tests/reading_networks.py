"""Networks of every configuration for the tests of what is read between the layers."""

import pytest
import torch

from sentiment_hf import SentimentPipeline

TEXTS = ["a good film", "cold", "not a bad film , warm and good"]  # As many as a step shows.
FOUR = {"id2label": dict(enumerate(["bad", "poor", "good", "great"]))}
ARTICLE = {"bidirectional": False, "pooling": "last", "max_length": 9}
CONFIGURATIONS = {
    "article": ARTICLE,
    "article, uncut, 2 layers": {**ARTICLE, "max_length": None, "num_layers": 2},
    "article, temperature": {**ARTICLE, "temperature": 1.7},
    "article, 4 labels": {**ARTICLE, **FOUR, "temperature": 0.7},
    "forward mean": {"bidirectional": False, "pooling": "mean"},
    "forward max, 3 layers": {"bidirectional": False, "pooling": "max", "num_layers": 3},
    "both last, 2 layers": {"pooling": "last", "num_layers": 2, "temperature": 2.5},
    "both max, 4 labels": {"pooling": "max", **FOUR},
    "both mean_max, cut": {"max_length": 5},
    "both mean_max, 2 layers, 4 labels": {"num_layers": 2, **FOUR, "temperature": 0.6},
}


@pytest.fixture
def make(make_pipeline):
    def sharpened(**fields) -> SentimentPipeline:
        pipe = make_pipeline(**{"hidden_size": 6, **fields})
        with torch.no_grad():  # So that every word moves the answer, as after a training.
            pipe.network.embedding.weight.mul_(4)
            pipe.network.linear.weight.mul_(10)
        return pipe

    return sharpened


@pytest.fixture(params=CONFIGURATIONS.values(), ids=list(CONFIGURATIONS))
def pipe(request, make) -> SentimentPipeline:
    return make(**request.param)


def cut(row: list, most: int | None) -> list:
    return row if most is None or len(row) <= most else row[: most // 4] + row[most // 4 - most :]


def ids_of(pipe: SentimentPipeline, text: str) -> list[int]:
    return cut(pipe.tokenizer.encode(text).ids, pipe.config.max_length)


@torch.no_grad()
def answer(pipe: SentimentPipeline, ids: list[int]) -> torch.Tensor:
    return pipe.network.probabilities(pipe.network(torch.tensor([ids or [1]])))[0]
