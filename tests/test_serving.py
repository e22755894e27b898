"""`sentiment-hf serve`: what a client of the HTTP server sees."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from starlette.testclient import TestClient

from sentiment_hf import SentimentPipeline
from sentiment_hf.serving import build_server

HERE = "http://127.0.0.1:8000"


@pytest.fixture
def pipe(make_pipeline):
    return make_pipeline()


@pytest.fixture
def connect():
    """A client of a server for a pipeline: `with connect(pipe) as client: client.post(...)`."""

    @contextmanager
    def run(pipe, **options):
        with TestClient(build_server(pipe, **options), base_url=HERE) as client:
            yield client

    return run


class GatedPipeline:
    """Computes once the gate is open, and remembers the texts of each call."""

    def __init__(self, pipe) -> None:
        self.pipe = pipe
        self.calls: list[list[str]] = []
        self.started = threading.Event()
        self.gate = threading.Event()

    def __call__(self, texts, **options):
        self.calls.append(texts)
        self.started.set()
        assert self.gate.wait(30)
        if any("poison" in text for text in texts):
            raise RuntimeError(f"cannot read {texts}")
        return self.pipe(texts, **options)


def predict(client, text: str) -> tuple[int, object]:
    response = client.post("/predict", json={"text": text})
    return response.status_code, response.json()


def wait_for(client, requests: int) -> None:
    """Until so many requests wait for the network."""
    while client.get("/healthz").json()["waiting"] < requests:
        time.sleep(0.01)


def test_the_answer_is_the_json_of_predict(run, checkpoint, connect):
    texts = ["a good film", "Café 👍 \x1b[31m \u202e", "a bad film , cold"]
    printed = run("predict", "--model", checkpoint, "--json", "--top-k", 2, "--", *texts)
    with connect(SentimentPipeline.from_pretrained(checkpoint)) as client:
        response = client.post("/predict", json={"texts": texts, "top_k": 2})
    assert response.headers["content-type"] == "application/json"
    expected = [json.loads(line) for line in printed.stdout.splitlines()]
    assert [(row["text"], row["label"]) for row in response.json()] == [
        (row["text"], row["label"]) for row in expected
    ]
    assert [row["score"] for row in response.json()] == pytest.approx(
        [row["score"] for row in expected], abs=1e-6
    )
    assert "Café 👍 \\u001b[31m \\u202e" in response.text


@pytest.mark.parametrize("key", ["text", "texts"])
def test_one_text_gets_one_row(pipe, connect, key):
    with connect(pipe) as client:
        response = client.post("/predict", json={key: "a good film"})
    assert response.json() == [{"text": "a good film", **pipe("a good film")[0]}]


@pytest.mark.parametrize(("top_k", "labels"), [(1, 1), (2, 2), (9, 3), (None, 3)])
def test_top_k_is_that_of_the_pipeline(make_pipeline, connect, top_k, labels):
    pipe = make_pipeline(id2label={0: "bad", 1: "fair", 2: "good"})
    with connect(pipe) as client:
        rows = client.post("/predict", json={"text": "a good film", "top_k": top_k}).json()
    assert [row["label"] for row in rows] == [
        answer["label"] for answer in pipe("a good film", top_k=top_k)
    ]
    assert len(rows) == labels


def test_an_empty_text_is_a_text(pipe, connect):
    with connect(pipe) as client:
        assert predict(client, "") == (200, [{"text": "", **pipe("")[0]}])


BAD = {
    "nothing": (400, b"", "The body is no JSON."),
    "no JSON": (400, b"secret", "The body is no JSON."),
    "half of it": (400, b'{"text": "secret', "The body is no JSON."),
    "a form": (400, b"text=secret", "The body is no JSON."),
    "no UTF-8": (400, b'{"text": "secret \xff"}', "The body is no JSON."),
    "nested for ever": (400, b"[" * 100_000, "The body is no JSON."),
    "a number without end": (400, b'{"top_k": ' + b"9" * 10_000 + b"}", "The body is no JSON."),
    "a bare text": (422, b'"secret"', "Send {"),
    "a bare list": (422, b'["secret"]', "Send {"),
    "null": (422, b"null", "Send {"),
    "no text": (422, b"{}", "Send {"),
    "two of them": (422, b'{"text": "secret", "texts": ["secret"]}', "Send {"),
    "another key": (422, b'{"text": "secret", "topk": 2}', "Send {"),
    "a text that is null": (422, b'{"text": null}', "There is no text."),
    "a text that is a number": (422, b'{"text": 5}', "There is no text."),
    "a text that is an object": (422, b'{"text": {"secret": 1}}', "There is no text."),
    "an empty list": (422, b'{"texts": []}', "There is no text."),
    "null in a list": (
        422,
        b'{"texts": ["secret", null]}',
        "Text number 1 is of the type NoneType, not a string.",
    ),
    "a number in a list": (
        422,
        b'{"texts": [1.5]}',
        "Text number 0 is of the type float, not a string.",
    ),
    "a list in a list": (
        422,
        b'{"texts": [["secret"]]}',
        "Text number 0 is of the type list, not a string.",
    ),
    "half a character": (422, b'{"text": "secret \\ud83d"}', "Text number 0 has half a character"),
    "the other half": (422, b'{"texts": ["\\udc4d"]}', "Text number 0 has half a character"),
    "no labels": (422, b'{"text": "secret", "top_k": 0}', "`top_k` must be a whole number"),
    "true": (422, b'{"text": "secret", "top_k": true}', "`top_k` must be a whole number"),
    "a half": (422, b'{"text": "secret", "top_k": 1.5}', "`top_k` must be a whole number"),
    "no number": (422, b'{"text": "secret", "top_k": NaN}', "`top_k` must be a whole number"),
}


@pytest.mark.parametrize(("status", "body", "sentence"), BAD.values(), ids=BAD)
def test_bad_input_is_one_sentence(pipe, connect, caplog, status, body, sentence):
    with connect(pipe) as client:
        response = client.post("/predict", content=body)
        assert predict(client, "a good film")[0] == 200
    assert response.status_code == status
    assert list(response.json()) == ["error"]
    assert response.json()["error"].startswith(sentence)
    assert "\n" not in response.json()["error"]
    assert "secret" not in response.text + caplog.text


def test_a_text_that_is_too_long_is_refused(pipe, connect):
    with connect(pipe) as client:
        assert predict(client, "x" * 100_000)[0] == 200
        status, answer = predict(client, "x" * 100_001)
    assert status == 422
    assert answer["error"] == "Text number 0 has 100,001 characters; up to 100,000 are read."


def test_too_many_texts_are_refused(pipe, connect):
    with connect(pipe) as client:
        assert client.post("/predict", json={"texts": ["a"] * 1000}).status_code == 200
        response = client.post("/predict", json={"texts": ["a"] * 1001})
    assert response.status_code == 422
    assert response.json() == {"error": "There are 1,001 texts; a request has up to 1,000."}


@pytest.mark.parametrize("declared", [True, False], ids=["length declared", "in pieces"])
def test_a_body_that_is_too_large_is_not_read_to_its_end(pipe, connect, declared):
    def pieces():
        for _ in range(3):
            yield b" " * 500_000

    body = b" " * 1_500_000 if declared else pieces()
    with connect(pipe) as client:
        response = client.post("/predict", content=body)
    assert response.status_code == 413
    assert response.json() == {"error": "The body is larger than 1,000,000 bytes."}


def test_what_is_not_there_is_said_as_json(pipe, connect):
    with connect(pipe) as client:
        assert client.get("/").json() == {"error": "Not Found"}
        assert client.get("/predict").status_code == 405


def test_healthz(pipe, connect):
    with connect(pipe) as client:
        assert client.get("/healthz").json() == {"status": "ok", "waiting": 0}


@pytest.mark.parametrize("path", ["/predict", "/healthz"])
def test_other_names_and_other_pages_are_refused(pipe, connect, path):
    with connect(pipe) as client:
        for headers in (
            {"Host": "evil.example:8000"},
            {"Origin": "http://evil.example"},
            {"Origin": "null"},
            {"Host": "localhost", "Origin": "https://localhost"},
        ):
            response = client.post(path, json={"text": "a"}, headers=headers)
            assert response.status_code == 403
            assert list(response.json()) == ["error"]
        same = {"Host": "localhost:8000", "Origin": "http://localhost:8000"}
        assert client.post("/predict", json={"text": "a"}, headers=same).status_code == 200


def test_any_name_is_answered_where_others_can_reach_it(pipe, connect):
    with connect(pipe, host="0.0.0.0", address="0.0.0.0") as client:
        named = {"Host": "models.example"}
        assert client.post("/predict", json={"text": "a"}, headers=named).status_code == 200
        proxied = {**named, "Origin": "https://models.example"}
        assert client.post("/predict", json={"text": "a"}, headers=proxied).status_code == 200
        foreign = {**named, "Origin": "http://evil.example"}
        assert client.post("/predict", json={"text": "a"}, headers=foreign).status_code == 403


def test_what_waits_is_computed_together_and_a_lone_request_at_once(pipe, connect):
    gated = GatedPipeline(pipe)
    texts = [f"a {word} film" for word in ("good", "bad", "warm", "cold", "not")]
    with connect(gated) as client, ThreadPoolExecutor() as threads:
        first = threads.submit(predict, client, "good")
        assert gated.started.wait(30)
        assert gated.calls == [["good"]]
        others = [threads.submit(predict, client, text) for text in texts]
        wait_for(client, len(texts))
        gated.gate.set()
        answers = [one.result() for one in (first, *others)]
    assert len(gated.calls) == 2
    assert sorted(gated.calls[1]) == sorted(texts)
    for text, (status, rows) in zip(["good", *texts], answers):
        assert (status, rows[0]["text"]) == (200, text)
        assert rows[0]["score"] == pytest.approx(pipe(text)[0]["score"], abs=1e-6)


def test_more_than_can_wait_is_refused_and_the_rest_is_answered(pipe, connect):
    gated = GatedPipeline(pipe)
    with connect(gated, most_waiting=2) as client, ThreadPoolExecutor() as threads:
        answers = [threads.submit(predict, client, "good")]
        assert gated.started.wait(30)
        answers += [threads.submit(predict, client, text) for text in ("bad", "warm")]
        wait_for(client, 2)
        assert predict(client, "cold") == (
            503,
            {"error": "Too many requests are waiting; try again later."},
        )
        gated.gate.set()
        assert [one.result()[0] for one in answers] == [200, 200, 200]


def test_a_text_that_fails_fails_alone_and_is_not_logged(pipe, connect, caplog):
    gated = GatedPipeline(pipe)
    with connect(gated) as client, ThreadPoolExecutor() as threads:
        answers = [threads.submit(predict, client, "good")]
        assert gated.started.wait(30)
        answers += [threads.submit(predict, client, text) for text in ("bad", "poison", "warm")]
        wait_for(client, 3)
        gated.gate.set()
        good, bad, poison, warm = (one.result() for one in answers)
    assert [good[0], bad[0], warm[0]] == [200, 200, 200]
    assert poison == (500, {"error": "The answer could not be computed."})
    assert "RuntimeError" in caplog.text
    assert "poison" not in caplog.text
