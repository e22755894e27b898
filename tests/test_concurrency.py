"""One pipeline in a server: several threads, forked processes, many calls."""

import json
import multiprocessing
import os
import random
import signal
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest
import torch
from datasets import Dataset

from sentiment_hf import SentimentPipeline
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


SECONDS = 60
SERVED: list[SentimentPipeline] = []


def answer(texts: list[str]) -> list[float]:
    signal.alarm(SECONDS)  # Ends a process that waits for ever.
    scores = [one["score"] for one in SERVED[-1](texts)]
    signal.alarm(0)
    return scores


def in_a_forked_process(texts):
    reader, writer = os.pipe()
    if not (child := os.fork()):
        try:
            os.write(writer, json.dumps(answer(texts)).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with open(reader) as scores:
        return json.loads(scores.read() or "[]")


def in_a_pool(texts):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        answers = pool.map_async(answer, [texts] * 4).get(SECONDS)
    assert answers[1:] == answers[:1] * 3
    return answers[0]


def in_an_executor(texts):
    with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
        return pool.submit(answer, texts).result(SECONDS)


def in_a_map(texts):
    def annotate(batch):
        signal.alarm(SECONDS)
        return SERVED[-1].annotate(batch)

    rows = Dataset.from_dict({"text": texts}).map(annotate, batched=True, num_proc=2)
    return list(rows["predicted_score"])


@pytest.fixture
def two_threads():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("way", [in_a_forked_process, in_a_pool, in_an_executor, in_a_map])
@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_a_pipeline_answers_in_a_forked_process(
    make_pipeline, tmp_path, monkeypatch, two_threads, backend, way
):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")  # For ONNX Runtime; torch has read it long ago.
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "true")  # As the command sets it.
    monkeypatch.setattr("huggingface_hub.constants.HF_ASSETS_CACHE", str(tmp_path / "cache"))
    make_pipeline(embedding_dim=64, hidden_size=64).save_pretrained(tmp_path / "model")
    pipe = SentimentPipeline.from_pretrained(tmp_path / "model", backend=backend)
    monkeypatch.setattr("test_concurrency.SERVED", [pipe])
    texts = some_texts(60)
    before = way(texts)
    expected = [one["score"] for one in pipe(texts)]
    for scores in (before, way(texts)):
        assert scores == pytest.approx(expected, abs=1e-6)
