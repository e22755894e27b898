"""One pipeline in a server: several threads, forked processes, many calls."""

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
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


# Several batches at once


@pytest.fixture
def two_threads():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


def threads_of_a_new_thread() -> int:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(torch.get_num_threads).result()


@pytest.mark.parametrize("fields", CONFIGURATIONS.values(), ids=list(CONFIGURATIONS))
def test_batches_computed_at_once_give_the_logits_of_one_after_the_other(
    make_pipeline, monkeypatch, two_threads, switching, fields
):
    monkeypatch.setattr("sentiment_hf.model.inference.WORDS_PER_BATCH", 100)
    pipe, texts, used = make_pipeline(**fields), some_texts(200), set()
    pipe.network.linear.register_forward_hook(lambda *_: used.add(threading.get_ident()))
    # While the two threads start, one that is born meanwhile would take their number for its own.
    pipe.logits(texts)
    with ThreadPoolExecutor(4) as callers:
        found = list(callers.map(pipe.logits, [texts[i:] for i in range(8)]))
        assert set(callers.map(lambda _: torch.get_num_threads(), range(20))) == {2}
    assert len(used) == 2
    assert torch.get_num_threads() == threads_of_a_new_thread() == 2
    torch.set_num_threads(1)
    expected = pipe.logits(texts)
    assert len(used) == 3  # The caller's own thread.
    for i, logits in enumerate(found):
        torch.testing.assert_close(logits, expected[i:], atol=1e-5, rtol=0)


@pytest.mark.usefixtures("two_threads")
def test_one_batch_is_computed_in_the_callers_thread(make_pipeline):
    pipe, used = make_pipeline(), set()
    pipe.network.linear.register_forward_hook(lambda *_: used.add(threading.get_ident()))
    pipe(some_texts(20))
    assert used == {threading.get_ident()}


def test_a_precision_that_the_caller_asks_for_holds_for_all_batches(make_pipeline, two_threads):
    pipe, texts = make_pipeline(hidden_size=64), some_texts(20)
    with torch.autocast("cpu", torch.bfloat16):
        found = pipe.logits(texts, batch_size=4)
    exact = pipe.logits(texts)
    assert (torch.isclose(found, exact, atol=1e-6, rtol=0)).float().mean() < 0.5
    torch.testing.assert_close(found, exact, atol=0.05, rtol=0)


# Forked processes

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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("way", [in_a_forked_process, in_a_pool, in_an_executor, in_a_map])
@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_a_pipeline_answers_in_a_forked_process(
    make_pipeline, tmp_path, monkeypatch, two_threads, backend, way
):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")  # For ONNX Runtime; torch has read it long ago.
    for module in ("inference", "onnx_network"):  # Several at once before the fork.
        monkeypatch.setattr(f"sentiment_hf.model.{module}.WORDS_PER_BATCH", 100)
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


# Memory

MEMORY = """
import random, resource, sys
from pathlib import Path
from sentiment_hf import SentimentPipeline
model, backend, calls, many = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
pipe, dice = SentimentPipeline.from_pretrained(model, backend=backend), random.Random(0)

def text(most):
    return " ".join(dice.choices(["a", "good", "film", "not", ","], k=dice.randint(1, most)))

def megabytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6

def highest(asked):
    start = megabytes()
    Path("/proc/self/clear_refs").write_text("5")  # The highest memory counts from here.
    pipe(asked)
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1e3 - start

for number in range(calls):
    if number == 200:
        early = megabytes()
    pipe([text(30) for _ in range(dice.randint(2, 20))] if number % 4 == 0 else text(500))
late = megabytes()
several = [text(5) for _ in range(many)]
print(late / early, highest(several), highest("\ufdfa" * 100_000))
"""


@pytest.mark.skipif(
    sys.platform != "linux", reason="measures memory by /proc, which Linux alone has"
)
@pytest.mark.parametrize("backend", ["torch", "onnx"])
@pytest.mark.parametrize(
    ("calls", "growth", "many", "megabytes"),
    [
        (1_200, 1.1, 100_000, 70),
        pytest.param(10_000, 1.3, 1_000_000, 400, marks=pytest.mark.slow),
    ],
)
def test_memory_grows_neither_with_the_calls_nor_with_the_list(
    make_pipeline, tmp_path, backend, calls, growth, many, megabytes
):
    """The answers count: about 27 MB for 100,000 texts."""
    make_pipeline().save_pretrained(tmp_path / "model")
    arguments = [tmp_path / "model", backend, calls, many]
    finished = subprocess.run(
        [sys.executable, "-c", MEMORY, *map(str, arguments)], capture_output=True, text=True,
        timeout=900, check=False, env={**os.environ, "HF_HOME": str(tmp_path)},
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    times, for_a_list, for_a_text = map(float, finished.stdout.split())
    assert times < growth
    assert for_a_list < megabytes
    assert for_a_text < 80


def test_a_text_of_any_size_is_read_and_one_beyond_reason_without_its_middle(make_pipeline, caplog):
    pipe = make_pipeline(max_length=None)
    for middle in ("bad " * 80_000, "\ufdfa" * 20_000):
        expected = pipe(f"good film {middle} not warm")
        assert not caplog.messages
        assert pipe(f"good film {middle * 2} not warm") != expected
        (message,) = caplog.messages
        assert "without its middle" in message
        caplog.clear()
    ends = [pipe(f"good {middle} warm") for middle in ("zebra " * 100_000, "zebra " * 90_000)]
    assert ends[0] == ends[1]
