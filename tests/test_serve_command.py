"""`sentiment-hf serve` as a process: where it listens, and how it ends."""

import http.client
import json
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

SLOW = """
import time
from sentiment_hf.pipeline import SentimentPipeline
compute = SentimentPipeline.__call__
def slow(*arguments, **options):
    print("computing", flush=True)
    time.sleep(1)
    return compute(*arguments, **options)
SentimentPipeline.__call__ = slow
from sentiment_hf.cli import main
main()
"""


IMPATIENT = "import sentiment_hf.serving, time; sentiment_hf.serving.SECONDS_TO_FINISH = 1"


@pytest.fixture
def start(checkpoint):
    """Starts a server whose answers take a second: `process, address = start()`."""
    started = []

    def run(*arguments, code=SLOW, **options):
        command = [sys.executable, "-c", code, "serve", "--model", checkpoint, "--port", 0]
        process = subprocess.Popen(
            [*map(str, (*command, *arguments))], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, **options,
        )  # fmt: skip
        started.append(process)
        line = process.stdout.readline()
        assert line.startswith("Listening at http://127.0.0.1:"), process.stderr.read()
        return process, urlsplit(line.split()[2]).netloc

    yield run
    for process in started:
        process.kill()
        process.communicate()


def ask(address: str) -> tuple[int, list]:
    connection = http.client.HTTPConnection(address, timeout=60)
    connection.request("POST", "/predict", json.dumps({"text": "a good film"}))
    response = connection.getresponse()
    return response.status, json.loads(response.read())


def test_who_leaves_in_the_middle_leaves_no_traceback(start):
    process, address = start()
    head = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99\r\n\r\n{"
    with socket.create_connection(tuple(address.split(":"))) as client:
        client.sendall(head)
    assert ask(address)[0] == 200
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert process.stderr.read() == ""


def test_a_request_that_never_ends_ends_with_the_server_in_one_sentence(start):
    process, address = start(code=SLOW.replace("import time", IMPATIENT))
    head = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99\r\n\r\n{"
    with socket.create_connection(tuple(address.split(":"))) as client:
        client.sendall(head)
        assert ask(address)[0] == 200
        process.send_signal(signal.SIGTERM)
        assert b"503" in client.recv(4096)
    assert process.wait(30) == 0
    assert "Traceback" not in process.stderr.read()


@pytest.mark.parametrize("host", ["127.1", "0x7f000001", "localhost"])
def test_any_spelling_of_this_machine_is_for_its_names_alone(start, host):
    _, address = start("--host", host)
    connection = http.client.HTTPConnection(address, timeout=60)
    for name, status in (("evil.example", 403), ("127.0.0.1", 200)):
        connection.request("GET", "/healthz", headers={"Host": name})
        response = connection.getresponse()
        response.read()
        assert response.status == status


@pytest.mark.parametrize(
    ("number", "status", "message"),
    [
        (signal.SIGTERM, 0, ""),
        (signal.SIGHUP, 0, ""),
        (signal.SIGINT, 130, "error: interrupted"),
    ],
    ids=["SIGTERM", "SIGHUP", "Ctrl-C"],
)
def test_a_signal_ends_it_once_what_it_has_is_answered(start, number, status, message):
    process, address = start()
    idle = socket.create_connection(urlsplit(f"//{address}").netloc.split(":"))
    with ThreadPoolExecutor() as threads:
        answer = threads.submit(ask, address)
        assert process.stdout.readline() == "computing\n"
        process.send_signal(number)
        assert answer.result()[0] == 200
    assert process.wait(30) == status
    # Nothing of the request, and no traceback.
    assert process.stderr.read().strip() == message
    assert process.stdout.read() == ""
    idle.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_that_was_ignored_stays_ignored(start, number):
    """As for a job in the background of a script, when Ctrl-C ends the script; or after `nohup`."""
    process, address = start(preexec_fn=lambda: signal.signal(number, signal.SIG_IGN))
    process.send_signal(number)
    assert ask(address)[0] == 200


def test_it_is_open_to_this_machine_alone(start):
    _, address = start()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", int(address.split(":")[1])), timeout=5)


def test_a_taken_port_is_named(run, checkpoint):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        result = run("serve", "--model", checkpoint, "--port", port)
    assert result.exit_code == 1
    assert result.stderr == f"error: The port {port} is taken; choose another with --port.\n"


def test_a_host_that_is_not_here_is_named(run, checkpoint):
    result = run("serve", "--model", checkpoint, "--host", "203.0.113.1", "--port", 0)
    assert result.exit_code == 2
    assert result.stderr == "error: The --host '203.0.113.1' is no address of this machine.\n"


def test_a_checkpoint_that_is_not_there_is_named(run, tmp_path):
    result = run("serve", "--model", tmp_path / "none", "--port", 0)
    assert result.exit_code == 2
    assert "none" in result.stderr


def test_without_its_packages_it_says_how_to_get_them(run, monkeypatch):
    monkeypatch.delitem(sys.modules, "sentiment_hf.serving")
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    result = run("serve")
    assert result.exit_code == 2
    assert result.stderr == (
        "error: The server needs starlette and uvicorn: pip install 'sentiment-hf[serve]'.\n"
    )
