"""HTTP servers on loopback that log every request and fail on demand.

`fail(match, fault, times=1, seconds=1)` lets the next `times` requests fail in whose
"METHOD /path?query" (unquoted) the regular expression `match` is found:
    500, 503, 404, ...  that status; 429 and 503 with Retry-After: `seconds`
    "slow"              answered after `seconds`
    "expired"           401, as for a token that is no longer valid
    "reset", "lost"     TCP reset; before anything was done, or after all was done
    "cut", "torn"       half of the body, then the end of the stream or a TCP reset
    "corrupt"           the whole body, one bit of its middle byte flipped
`heal()` forgets the faults that are left; inside `with server.down():` connections are refused.
`requests` is the log, oldest first; `calls(match)` filters it. An error inside the server is
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
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

FAULTS = ("slow", "expired", "reset", "lost", "cut", "torn", "corrupt")
INVALID_TOKEN = "Invalid credentials in Authorization header"
Fault = namedtuple("Fault", "match kind seconds")
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
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
    if not found:
        return Reply(200, data, headers)
    start = int(found[1])
    part = data[start : int(found[2]) + 1 if found[2] else None]
    span = {"Content-Range": f"bytes {start}-{start + len(part) - 1}/{len(data)}"}
    return Reply(206, part, headers | span)


@dataclass
class Request:
    method: str
    target: str
    side: str
    headers: Any  # as a dictionary, whatever the case of a name
    body: bytes = field(repr=False)
    user: Any = None
    status: int | str | None = None  # of the answer, or the fault that left no answer

    def __post_init__(self):
        self.path = unquote(urlsplit(self.target).path)
        self.query = dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    def json(self) -> dict[str, Any]:
        return json.loads(self.body)

    def matches(self, match: str) -> bool:
        return re.search(match, f"{self.method} {unquote(self.target)}") is not None


class FaultyServer:
    """Its subclass has `serve(request)`, which gives a `Reply` or raises `RefusedError`."""

    sides: tuple[str, ...] = ("api",)

    def __init__(self):
        self.requests: list[Request] = []
        self.errors: list[str] = []
        self.faults: list[Fault] = []
        self.lock = threading.RLock()
        self.ports = [0] * len(self.sides)

    def address(self, side: str) -> str:
        return f"http://127.0.0.1:{self.ports[self.sides.index(side)]}"

    def __enter__(self):
        self.servers = [Listener(self, *pair) for pair in zip(self.sides, self.ports)]
        self.ports = [server.server_address[1] for server in self.servers]
        return self

    def __exit__(self, kind, *_):
        for server in self.servers:
            server.stop()
        if self.errors and kind is None:
            raise AssertionError("the test server failed:\n" + "\n".join(self.errors))

    @contextlib.contextmanager
    def down(self):
        self.__exit__(None)
        try:
            yield
        finally:
            self.__enter__()

    def fail(self, match: str, fault: int | str, times: int = 1, seconds: float = 1):
        if fault not in FAULTS and not isinstance(fault, int):
            raise ValueError(f"unknown fault {fault!r}: an HTTP status or one of {FAULTS}")
        self.faults += [Fault(match, fault, seconds)] * times

    def heal(self):
        self.faults.clear()

    def calls(self, match: str) -> list[Request]:
        return [request for request in list(self.requests) if request.matches(match)]

    def take_fault(self, request: Request) -> Fault:
        with self.lock:
            for fault in self.faults:
                if request.matches(fault.match):
                    self.faults.remove(fault)
                    return fault
        return Fault(None, None, None)

    def answer(self, request: Request, fault: Fault) -> Reply:
        try:
            if isinstance(fault.kind, int):
                retry = {"Retry_After": f"{fault.seconds:g}"} if fault.kind in (429, 503) else {}
                raise RefusedError(fault.kind, "a fault of the test", **retry)
            if fault.kind == "expired":
                raise RefusedError(401, INVALID_TOKEN)
            with self.lock:
                return self.serve(request)
        except RefusedError as refused:
            return refused.reply
        except Exception:
            self.errors.append(f"{request}\n{traceback.format_exc()}")
            return answer({"error": "Internal Error"}, 500)


class Listener(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
    request_queue_size = 128

    def __init__(self, owner: FaultyServer, side: str, port: int):
        super().__init__(("127.0.0.1", port), Handler)
        self.owner, self.side, self.connections = owner, side, []
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def process_request(self, request, client_address) -> None:
        self.connections.append(request)
        super().process_request(request, client_address)

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request, client_address) -> None:
        if not isinstance(sys.exc_info()[1], OSError):  # a client may go away
            self.owner.errors.append(traceback.format_exc())


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def _serve(self) -> None:
        owner, size = self.server.owner, int(self.headers.get("Content-Length", 0))
        sent = self.rfile.read(size)
        if len(sent) < size:
            raise ConnectionError("the client went away")
        request = Request(self.command, self.path, self.server.side, self.headers, sent)
        owner.requests.append(request)
        fault = owner.take_fault(request)
        if fault.kind == "slow":
            threading.Event().wait(fault.seconds)  # `time.sleep` may be patched by the test
        reply = None if fault.kind == "reset" else owner.answer(request, fault)
        if fault.kind in ("reset", "lost"):
            return self._reset(request, fault.kind)
        request.status = reply.status
        body = b"" if self.command == "HEAD" else reply.body
        middle = len(body) // 2
        if fault.kind == "corrupt" and body:
            body = body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("X-Request-Id", f"test-{len(owner.requests)}")
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(body[:middle] if fault.kind in ("cut", "torn") else body)
        self.wfile.flush()
        self.close_connection |= fault.kind == "cut"
        return self._reset(request, fault.kind) if fault.kind == "torn" else None

    do_GET = do_HEAD = do_POST = do_PUT = _serve  # noqa: N815

    def _reset(self, request: Request, kind: str) -> None:
        request.status = kind
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())

    def log_message(self, *_) -> None:
        """Nothing goes to the terminal: `requests` is the log."""
