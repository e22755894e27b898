"""The web page, asked as a program asks it; `test_browser.py` looks at it."""

import http.client
import json
import os
import re
import socket
import subprocess
import sys
from html.parser import HTMLParser
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from gradio_client import Client

from sentiment_hf import app as app_module
from sentiment_hf.app import build_app, example_reviews, launch, read_review, serve
from sentiment_hf.errors import SentimentError

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
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def open_page(make_pipeline, free_port):
    """Serves the page of a small pipeline, `open_page(host=None)`, and gives its address."""
    page = build_app(make_pipeline())
    yield lambda host=None: serve(page, host, free_port)
    page.close(verbose=False)


@pytest.fixture
def ask(open_page):
    """Asks the served page of a small pipeline: `verdict, reading = ask("A text")`."""
    client = Client(open_page(), verbose=False)
    yield lambda text: client.predict(text, api_name="/read")
    client.close()


def request(address: str, method: str, path: str, body: object = None, **headers: str):
    """Status, headers and body of the answer to a request as it stands, `Host` included."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)
    data = json.dumps(body).encode() if body is not None else None
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, data, {"Content-Type": "application/json", **headers})
    response = connection.getresponse()
    answer = response.status, {name.lower(): value for name, value in response.getheaders()}
    text = response.read().decode()
    connection.close()
    return *answer, text


QUESTION = ("POST", "/gradio_api/call/read", {"data": ["a good film"]})


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


def test_only_names_of_this_machine_are_answered(open_page):
    """What DNS rebinding does: a stranger's name leads here, and the browser sends that name."""
    address = open_page()
    port = urlsplit(address).port
    for name in ("localhost", "127.0.0.1", "LOCALHOST", "[::1]"):
        assert request(address, *QUESTION, Host=f"{name}:{port}")[0] == 200
    for name in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "0.0.0.0", ""):
        for question in (QUESTION, ("GET", "/"), ("GET", "/config")):
            status, _, answer = request(address, *question, Host=f"{name}:{port}")
            assert status == 403
            assert "localhost" in json.loads(answer)["error"]


def test_names_that_no_proxy_forwarded_are_not_believed(open_page):
    address = open_page()
    forwarded = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"}
    for question in (("GET", "/"), ("GET", "/config")):
        status, _, answer = request(address, *question, **forwarded)
        assert status == 200
        assert "evil.example" not in str(answer)


def test_another_name_is_answered_where_the_host_says_so(open_page):
    address = open_page("0.0.0.0")
    assert request(address, *QUESTION, Host="my-machine.example:7860")[0] == 200
    foreign = {"Host": "my-machine.example", "Origin": "http://evil.example"}
    assert request(address, *QUESTION, **foreign)[0] == 403


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "http://localhost:1",
        "http://127.0.0.1.evil.example",
        "https://{address}",
        "{address}",
    ],
)
def test_the_page_of_a_stranger_is_refused(open_page, origin):
    address = open_page()
    origin = origin.format(address=urlsplit(address).netloc)
    refusal = {"error": "Requests of another page are refused."}
    for question in (QUESTION, ("GET", "/config"), ("POST", "/gradio_api/queue/join", {})):
        status, _, answer = request(address, *question, Origin=origin)
        assert (status, json.loads(answer)) == (403, refusal)


@pytest.mark.parametrize("host", ["127.1", "0x7f000001", "localhost"])
def test_any_spelling_of_this_machine_is_for_its_names_alone(open_page, host):
    address = f"http://127.0.0.1:{urlsplit(open_page(host)).port}"
    assert request(address, "GET", "/config")[0] == 200
    assert request(address, "GET", "/config", Host="evil.example")[0] == 403


def test_no_address_is_printed_as_it_is(open_page, capfd):
    path = "/gradio_api/custom_component/0/client/component/%1b%5d52;c;ZXZpbA==%07x%0aForged.js"
    status, _, answer = request(open_page(), "GET", path)
    assert (status, json.loads(answer)) == (403, {"error": "This is not offered here."})
    assert "Forged" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:1"])
def test_a_browser_is_not_told_that_a_stranger_may_ask(open_page, origin):
    address = open_page()
    asking = {"Origin": origin, "Access_Control_Request_Method": "POST"}
    for question in (("OPTIONS", QUESTION[1]), QUESTION, ("GET", "/config")):
        status, headers, _ = request(address, *question, **asking)
        assert status == 403
        assert not [name for name in headers if name.startswith("access-control")]


def test_behind_a_proxy_that_encrypts_the_page_itself_may_ask(open_page):
    address = open_page("0.0.0.0")
    through = {"Host": "films.example", "Origin": "https://films.example"}
    assert request(address, *QUESTION, **through)[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "call/read", "no object"),
        ("POST", "call/nothing", {"data": ["a"]}),
        ("POST", "run/0", {"data": ["a"]}),
        ("POST", "call/v2/read", {}),
        ("POST", "queue/join", {"data": ["a"], "fn_index": 999, "session_hash": "x"}),
        ("POST", "api/read", {"data": []}),
        ("POST", "api/read", {"data": [{"path": "/x", "meta": {"_type": "gradio.FileData"}}]}),
        ("GET", "call/read/nothing", None),
        ("GET", "queue/data?session_hash=nothing", None),
        ("GET", "deep_link?session_hash=x", None),
        ("GET", "monitoring", None),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_odd_request_is_one_sentence_and_no_traceback(open_page, capfd, method, path, body):
    address = open_page()
    status, _, answer = request(address, method, f"/gradio_api/{path}", body)
    # What is answered event by event has begun well.
    assert "event" in answer if status == 200 else 400 <= status <= 500
    assert answer
    assert request(address, *QUESTION)[0] == 200
    shown = "".join(capfd.readouterr())
    assert "Traceback" not in shown
    assert "http" not in shown


def test_half_a_character_is_read_as_the_pipeline_reads_it(open_page, make_pipeline):
    text = "a good \ud83d film"
    _, _, answer = request(open_page(), "POST", "/gradio_api/api/read", {"data": [text]})
    assert json.loads(answer)["data"][0]["label"] == make_pipeline()(text)[0]["label"]


@pytest.mark.parametrize("data", [[], [{"path": "/x", "meta": {"_type": "gradio.FileData"}}]])
def test_what_is_no_text_is_said_to_be_none(open_page, capfd, data):
    address = open_page()
    event = json.loads(request(address, "POST", QUESTION[1], {"data": data})[2])["event_id"]
    _, _, answer = request(address, "GET", f"{QUESTION[1]}/{event}")
    assert "send one text" in answer
    assert "Traceback" not in capfd.readouterr().err


def test_the_page_itself_may_ask(open_page):
    address = open_page()
    assert request(address, *QUESTION, Origin=address.rstrip("/"))[0] == 200


@pytest.mark.parametrize(
    "path", ["upload", "upload?upload_id=1", "process_recording", "component_server", "stream/1"]
)
def test_nothing_can_be_uploaded(open_page, path):
    form = "multipart/form-data; boundary=x"
    path = f"/gradio_api/{path}"
    status, _, answer = request(open_page(), "POST", path, "a file", Content_Type=form)
    assert (status, json.loads(answer)) == (403, {"error": "This is not offered here."})


@pytest.mark.parametrize("path", ["file=http://example.org/", "file=/etc/passwd", "proxy=x"])
def test_nothing_is_fetched_for_anyone(open_page, path):
    assert request(open_page(), "GET", f"/gradio_api/{path}")[0] == 403


def test_a_text_that_is_too_long_is_refused(ask):
    verdict, reading = ask("x" * 100_001)
    assert not verdict or verdict["label"] is None
    assert Page(reading).text.strip() == (
        "The text has 100,001 characters: the page reads up to 100,000."
    )


@pytest.mark.parametrize("path", [QUESTION[1], "/gradio_api/queue/join", "/gradio_api/api/read"])
def test_a_request_that_is_too_long_is_not_read(open_page, capfd, path):
    status, _, _ = request(open_page(), "POST", path, {"data": ["x" * 2_000_000]})
    assert status == 413
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("path", [QUESTION[1], "/gradio_api/queue/join", "/gradio_api/api/read"])
def test_a_request_that_is_too_long_and_comes_in_pieces_is_not_read(open_page, capfd, path):
    connection = http.client.HTTPConnection(urlsplit(open_page()).netloc, timeout=60)
    pieces = (b" " * 50_000 for _ in range(30))
    connection.request(
        "POST", path, pieces, {"Content-Type": "application/json"}, encode_chunked=True
    )
    assert connection.getresponse().status in (400, 413)
    connection.close()
    assert "Traceback" not in capfd.readouterr().err


def test_the_page_is_open_to_this_machine_alone(open_page, monkeypatch):
    monkeypatch.delenv("GRADIO_SERVER_NAME", raising=False)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", urlsplit(open_page()).port), timeout=5)


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
