"""The page of `sentiment-hf demo` as a server: who may ask it, and for what."""

import http.client
import json
import socket
from urllib.parse import urlsplit

import demo_page
import pytest
from demo_page import QUESTION, request

free_port = demo_page.free_port
open_page = demo_page.open_page


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
