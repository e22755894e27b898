"""HTTP servers on loopback that log every request and fail on demand.

Faults are taken, in the order given, by the next `times` requests whose "METHOD /path?query"
(unquoted) contains `match` or is found by it as a regular expression:
    fail(match, fault, times=1, seconds=1)    heal() forgets the faults that are left
    500, 503, 404, ...  that status; 429 and 503 with Retry-After: `seconds`
    "slow"              answered after `seconds`
    "expired"           401, as for a token that is no longer valid
    "reset"             TCP reset; nothing was done
    "lost"              TCP reset; all was done (a commit exists)
    "cut", "torn"       half of the body, then the end of the stream or a TCP reset
    "corrupt"           the whole body, one bit of its middle byte flipped
The last three wait for a 2xx answer with a body: HEAD and redirects do not use them up.
`with server.down():` closes every connection and refuses new ones.

`requests` is the log, oldest first: .method .path .query .side .headers .status (a number, or the
fault that left no answer); `calls(match)` filters it as `fail` does. An error inside the server is
answered with 500 and raised when the `with` block ends.
"""

import contextlib
import json
import os
import re
import socket
import socketserver
import struct
import sys
import threading
import traceback
from collections import namedtuple
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

BODY_FAULTS = ("cut", "torn", "corrupt")
FAULTS = ("slow", "expired", "reset", "lost", *BODY_FAULTS)
INVALID_TOKEN = "Invalid credentials in Authorization header"
Reply = namedtuple("Reply", "status body headers")


class RefusedError(Exception):
    def __init__(self, status: int, message: str, code: str | None = None, **headers: str):
        headers |= {"X_Error_Message": message} | ({"X_Error_Code": code} if code else {})
        self.reply = answer({"error": message}, status, **headers)


def answer(content: Any, status: int = 200, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, json.dumps(content).encode(), {"Content-Type": "application/json"} | named)


def ranged(request: "Request", data: bytes, headers: dict[str, str]) -> Reply:
    headers = headers | {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("range", "-"))
    if not found:
        return Reply(200, data, headers)
    first, last = found.groups()
    start = int(first) if first else max(len(data) - int(last), 0)
    end = min(int(last) + 1, len(data)) if first and last else len(data)
    if start >= end:
        return Reply(416, b"", headers | {"Content-Range": f"bytes */{len(data)}"})
    span = {"Content-Range": f"bytes {start}-{end - 1}/{len(data)}"}
    return Reply(206, data[start:end], headers | span)


@dataclass
class Request:
    method: str
    target: str
    side: str
    headers: dict[str, str]
    body: bytes = field(repr=False)
    user: Any = None
    status: int | str | None = None

    def __post_init__(self):
        self.path = unquote(urlsplit(self.target).path)
        query = parse_qs(urlsplit(self.target).query)
        self.query = {name: values[-1] for name, values in query.items()}

    def json(self) -> dict[str, Any]:
        return json.loads(self.body)

    def matches(self, match: str) -> bool:
        line = f"{self.method} {unquote(self.target)}"
        return match in line or re.search(match, line) is not None


class FaultyServer:
    sides: tuple[str, ...] = ("api",)

    def __init__(self):
        self.requests: list[Request] = []
        self.errors: list[str] = []
        self.faults: list[SimpleNamespace] = []
        self.lock = threading.RLock()
        self.closing = threading.Event()
        self.ports = [0] * len(self.sides)

    def serve(self, request: Request) -> Reply:
        """Answers one request, or raises `RefusedError`; one request at a time."""
        raise NotImplementedError

    def address(self, side: str) -> str:
        return f"http://127.0.0.1:{self.ports[self.sides.index(side)]}"

    def __enter__(self):
        self.servers = [Listener(self, *pair) for pair in zip(self.sides, self.ports)]
        self.ports = [server.server_address[1] for server in self.servers]
        return self

    def __exit__(self, kind, *_):
        self.closing.set()
        for server in self.servers:
            server.stop()
        if self.errors and kind is None:
            raise AssertionError("the test server failed:\n" + "\n".join(self.errors))

    @contextlib.contextmanager
    def down(self):
        for server in self.servers:
            server.stop()
        try:
            yield
        finally:
            self.__enter__()

    def fail(self, match: str, fault: int | str, times: float = 1, seconds: float = 1):
        if fault not in FAULTS and not isinstance(fault, int):
            raise ValueError(f"unknown fault {fault!r}: an HTTP status or one of {FAULTS}")
        named = SimpleNamespace(match=match, kind=fault, times=times, seconds=seconds)
        self.faults.append(named)

    def heal(self):
        self.faults.clear()

    def calls(self, match: str) -> list[Request]:
        return [request for request in list(self.requests) if request.matches(match)]

    def take_fault(self, request: Request, of_body: bool) -> SimpleNamespace:
        with self.lock:
            for fault in self.faults:
                if (fault.kind in BODY_FAULTS) == of_body and request.matches(fault.match):
                    fault.times -= 1
                    if fault.times <= 0:
                        self.faults.remove(fault)
                    return fault
        return SimpleNamespace(kind=None)

    def answer(self, request: Request) -> Reply:
        try:
            with self.lock:
                return self.serve(request)
        except RefusedError as refused:
            return refused.reply
        except Exception:
            self.errors.append(f"{request}\n{traceback.format_exc()}")
            return answer({"error": "Internal Error"}, 500)


class Listener(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, owner: FaultyServer, side: str, port: int):
        super().__init__(("127.0.0.1", port), Handler)
        self.owner, self.side, self.connections = owner, side, set()
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request, client_address) -> None:
        if not isinstance(sys.exc_info()[1], OSError):  # a client may go away
            self.owner.errors.append(traceback.format_exc())


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        self.server.connections.discard(self.connection)
        super().finish()

    def log_message(self, *_) -> None:
        """Nothing goes to the terminal: `requests` is the log."""

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self._read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline() or b"0", 16):
            chunks.append(self._read(size))
            self._read(len(b"\r\n"))
        self._read(len(b"\r\n"))
        return b"".join(chunks)

    def _read(self, size: int) -> bytes:
        data = self.rfile.read(size)
        if len(data) < size:
            raise ConnectionError("the client went away")
        return data

    def _serve(self) -> None:
        owner, headers = self.server.owner, {k.lower(): v for k, v in self.headers.items()}
        request = Request(self.command, self.path, self.server.side, headers, self._body())
        owner.requests.append(request)
        fault = owner.take_fault(request, of_body=False)
        kind = fault.kind
        if kind == "slow":
            owner.closing.wait(fault.seconds)
        elif kind == "reset":
            return self._reset(request, kind)
        if isinstance(kind, int):
            retry = {"Retry_After": f"{fault.seconds:g}"} if kind in (429, 503) else {}
            reply = RefusedError(kind, "a fault of the test", **retry).reply
        elif kind == "expired":
            reply = RefusedError(401, INVALID_TOKEN).reply
        else:
            reply = owner.answer(request)
        if kind == "lost":
            return self._reset(request, kind)
        request.status = reply.status
        body = b"" if self.command == "HEAD" else reply.body
        if body and reply.status < 300:
            kind = owner.take_fault(request, of_body=True).kind
        if kind == "corrupt":
            middle = len(body) // 2
            body = body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("X-Request-Id", f"test-{len(owner.requests)}")
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if kind in ("cut", "torn") else body)
        self.wfile.flush()
        self.close_connection |= kind == "cut"
        return self._reset(request, kind) if kind == "torn" else None

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815

    def _reset(self, request: Request, kind: str) -> None:
        request.status = kind
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())
