"""The web page, asked as a program asks it; `test_browser.py` looks at it."""

import os
import re
import socket
import subprocess
import sys
from html.parser import HTMLParser
from types import SimpleNamespace

import demo_page
import pytest
from gradio_client import Client

from sentiment_hf import app as app_module
from sentiment_hf.app import build_app, example_reviews, launch, read_review, serve
from sentiment_hf.errors import SentimentError

free_port = demo_page.free_port
open_page = demo_page.open_page

ODD_TEXTS = {
    "emoji": "a good film 👍🏽 🎉",
    "right to left": "فيلم رائع جدا, a good film",
    "html": "a good <script>alert(1)</script> film <img src=x onerror=alert(2)> &amp; </p>",
    "html in one piece": "<script>alert(1)</script> <img src=x onerror=alert(2)> &lt; " * 60,
    "template": "a good {{ 7 * 7 }} {% raw %} ${7 * 7} film",
    "only unknown words": "zyzzyva qwertz",
    "one long word": "x" * 3000,
    "5,000 words": "good film " * 2500,
}


class Page(HTMLParser):
    """The tags and the text of a piece of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def ask(open_page):
    """Asks the served page of a small pipeline: `verdict, reading = ask("A text")`."""
    client = Client(open_page(), verbose=False)
    yield lambda text: client.predict(text, api_name="/read")
    client.close()


def test_the_verdict_is_the_pipelines(ask, make_pipeline):
    verdict, reading = ask("not a good film , cold")
    expected = make_pipeline()("not a good film , cold", top_k=None)
    assert verdict["label"] == expected[0]["label"]
    assert [(row["label"], row["confidence"]) for row in verdict["confidences"]] == [
        (answer["label"], pytest.approx(answer["score"], abs=1e-6)) for answer in expected
    ]
    assert "not a good film" in Page(reading).text


def test_an_empty_text_gets_no_verdict(ask):
    verdict, reading = ask(" \n")
    assert not verdict or verdict["label"] is None
    assert Page(reading).text.strip() == "There is nothing to read yet."


@pytest.mark.parametrize("text", ODD_TEXTS.values(), ids=ODD_TEXTS)
def test_an_odd_text_is_read_and_shown_as_text(ask, make_pipeline, text):
    verdict, reading = ask(text)
    assert verdict["label"] == make_pipeline()(text)[0]["label"]
    page = Page(reading)
    assert {"script", "img", "raw"}.isdisjoint(page.tags)
    shown = page.text.replace(" ", "").replace("\n", "")
    assert text.replace(" ", "").replace("\n", "") in shown


def test_the_page_says_what_the_network_cannot_read(make_pipeline):
    pipe = make_pipeline(max_length=8)

    def text_of(review):
        return Page(read_review(pipe, review)[1]).text

    assert "knows none of these words" in text_of("zyzzyva qwertz")
    assert "The network does not know 1 of the 3 words" in text_of("a qwertz film")
    assert "has 20 words: the network reads 8" in text_of("good film " * 10)
    assert "The network does not know" not in text_of("a good film")


def test_every_layer_is_a_row_of_the_table(make_pipeline):
    pipe = make_pipeline()
    page = Page(read_review(pipe, "a good film")[1])
    steps = pipe.trace(["a good film"])
    assert page.tags.count("tr") == len(steps) + 1
    assert all(step.what in page.text for step in steps)


@pytest.mark.parametrize("review", ["a good film , warm", "a bad film , cold"])
def test_blue_speaks_for_the_second_label_whatever_the_verdict(make_pipeline, review):
    pipe = make_pipeline(temperature=0.01)
    found = pipe.explain(review)
    sign = 1 if found.label == "pos" else -1
    parts = [sign * part for part in found.deletion]
    best = parts.index(max(parts))
    assert parts[best] > 0
    html = read_review(pipe, review)[1]
    shades = re.findall(r'var\(--(\w+)\), [\d.]+\)" title="deletion [^"]*">([^<]*)<', html)
    assert shades[best] == ("second", found.words[best])
    assert {side for side, _ in shades} == {"first", "second"}


def test_three_labels_are_shown(make_pipeline):
    names = {0: "bad", 1: "fair", 2: "good"}
    verdict, reading = read_review(make_pipeline(id2label=names), "a good film")
    assert set(verdict) == set(names.values())
    best = max(verdict, key=verdict.get)
    assert f"speaks for {best}" in Page(reading).text
    assert f"for not {best}" in Page(reading).text


def test_a_label_is_escaped_like_a_text(make_pipeline):
    names = {0: "<img src=x>", 1: "<script>alert(1)</script>"}
    page = Page(read_review(make_pipeline(id2label=names), "a good film")[1])
    assert {"script", "img"}.isdisjoint(page.tags)
    assert all(f"for {name}" in page.text for name in names.values())


def test_without_captum_the_page_says_how_to_get_it(make_pipeline, monkeypatch):
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    verdict, reading = read_review(make_pipeline(), "a good film")
    assert verdict
    assert "pip install 'sentiment-hf[explain]'" in Page(reading).text


def test_a_text_too_long_to_explain_gets_its_verdict(make_pipeline, monkeypatch):
    monkeypatch.setattr(app_module, "MOST_EXPLAINED_WORDS", 3)
    verdict, reading = read_review(make_pipeline(max_length=None), "a good warm film")
    assert verdict
    assert "Only texts of up to 3 words are explained" in Page(reading).text


def test_without_gradio_the_page_says_how_to_get_it(make_pipeline, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(SentimentError, match=r"pip install 'sentiment-hf\[demo\]'"):
        build_app(make_pipeline())


def test_nothing_is_told_to_anyone(make_pipeline):
    assert build_app(make_pipeline()).analytics_enabled is False
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"


def test_the_examples_are_few_short_and_different():
    examples = example_reviews()
    assert len(set(examples)) == len(examples) == 4
    assert all(len(example) < 400 for example in examples)


def test_launch_says_where_the_page_is_until_it_is_interrupted(
    checkpoint, free_port, monkeypatch, capsys
):
    def interrupt(_):
        with socket.create_connection(("127.0.0.1", free_port), timeout=5):
            raise KeyboardInterrupt

    monkeypatch.setattr(app_module, "time", SimpleNamespace(sleep=interrupt))
    with pytest.raises(KeyboardInterrupt):
        launch(str(checkpoint), port=free_port)
    assert f"http://127.0.0.1:{free_port}/" in capsys.readouterr().out
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", free_port), timeout=5)


def test_a_taken_port_is_named(make_pipeline, free_port):
    with socket.socket() as other:
        other.bind(("127.0.0.1", free_port))
        other.listen()
        with pytest.raises(SentimentError, match=f"port {free_port} is taken"):
            serve(build_app(make_pipeline()), port=free_port)


def test_a_text_that_is_too_long_is_refused(ask):
    verdict, reading = ask("x" * 100_001)
    assert not verdict or verdict["label"] is None
    assert Page(reading).text.strip() == (
        "The text has 100,001 characters: the page reads up to 100,000."
    )


def test_gradios_variables_are_obeyed(checkpoint, free_port):
    """In a process of its own: gradio reads them when it is imported."""
    environment = {"GRADIO_SERVER_NAME": "127.0.0.2", "GRADIO_SERVER_PORT": str(free_port)}
    command = [sys.executable, "-m", "sentiment_hf.cli", "demo", "--model", str(checkpoint)]
    process = subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline().startswith(f"The page is at http://127.0.0.2:{free_port}/")
        socket.create_connection(("127.0.0.2", free_port), timeout=5).close()
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("port", ["abc", "", "0", "65536"])
def test_a_port_of_gradios_that_is_none_is_named(run, checkpoint, monkeypatch, port):
    monkeypatch.setenv("GRADIO_SERVER_PORT", port)
    result = run("demo", "--model", checkpoint)
    assert result.exit_code == 2
    assert f"GRADIO_SERVER_PORT is {port!r}; it needs a number" in result.stderr


def test_a_host_that_is_not_here_is_named(run, checkpoint):
    for host in ("203.0.113.1", "no..host"):
        result = run("demo", "--model", checkpoint, "--host", host)
        assert result.exit_code == 2
        assert result.stderr == f"error: The --host {host!r} is no address of this machine.\n"
