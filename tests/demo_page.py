"""The page of a small pipeline, served, and requests to it."""

import http.client
import json
import socket
from urllib.parse import urlsplit

import pytest

from sentiment_hf.app import build_app, serve


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
