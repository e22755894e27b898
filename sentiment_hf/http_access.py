"""Where a page or a server listens, which requests are refused, and how a failure is answered."""

import asyncio
import errno
import logging
import re
import socket
from collections.abc import Callable
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from sentiment_hf.errors import SentimentError

if TYPE_CHECKING:
    from starlette.middleware import Middleware

THIS_MACHINE = "127.0.0.1"
MOST_BYTES = 1_000_000
MOST_CHARACTERS = 100_000
LOOPBACK_NAMES = ("localhost", THIS_MACHINE, "[::1]")

logger = logging.getLogger(__name__)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at an address of this machine; port 0 is any free one."""
    unknown = SentimentError(f"The `host` {host!r} is no address of this machine.")
    try:
        # A name such as `localhost` can have two addresses: the one of IPv4 comes first.
        family, *_, address = min(
            socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
        )
        return socket.create_server(address[:2], family=family, backlog=2048)
    except (socket.gaierror, UnicodeError) as error:
        raise unknown from error
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise unknown from error
        reason = "is taken" if error.errno == errno.EADDRINUSE else f"is refused: {error.strerror}"
        raise SentimentError(
            f"The port {port} {reason}; choose another with `port`.", exit_status=1
        ) from error


def middleware(
    host: str, address: str, is_closed: Callable[[str, str], bool] | None = None
) -> "list[Middleware]":
    """What stands before an application that listens here; see `AccessMiddleware`."""
    from starlette.middleware import Middleware

    access = Middleware(AccessMiddleware, host=host, address=address, is_closed=is_closed)
    return [access, Middleware(FailureMiddleware)]


class AccessMiddleware:
    """Refuses requests that a foreign web page makes the browser send, in one sentence as JSON.

    The browser names the foreign page in `Origin`. By DNS rebinding such a page can also give this
    machine a name of its own and read the answers; the browser then sends that name in `Host`.

    Args:
        app: the ASGI application that answers what is not refused.
        host: where it listens, as the user says it.
        address: where it listens indeed, since many a name and spelling leads to a loopback
            address (`127.1`, those in /etc/hosts); any name is accepted unless it is one.
        is_closed: says of a method and a path whether they are refused, too.
    """

    def __init__(
        self,
        app: Any,
        host: str,
        address: str,
        is_closed: Callable[[str, str], bool] | None,
    ) -> None:
        names = "|".join(map(re.escape, {*LOOPBACK_NAMES, host, address, f"[{address}]"}))
        self.is_alone = ip_address(address).is_loopback
        pattern = names if self.is_alone else ".*"
        self.app = app
        self.host = re.compile(rf"(?:{pattern})(?::\d+)?", re.IGNORECASE)
        self.is_closed = is_closed

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        refusal = self._refusal(scope) if scope["type"] in ("http", "websocket") else None
        if refusal is None:
            if self.is_alone and "headers" in scope:
                # No proxy stands before it, so that these can only be a stranger's.
                headers = [h for h in scope["headers"] if not h[0].startswith(b"x-forwarded-")]
                scope = {**scope, "headers": headers}
            await self.app(scope, receive, send)
            return
        from starlette.responses import JSONResponse

        await JSONResponse({"error": refusal}, status_code=403)(scope, receive, send)

    def _refusal(self, scope: Any) -> str | None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        host, origin = headers.get(b"host", ""), headers.get(b"origin")
        if not self.host.fullmatch(host):
            return (
                "This name is not answered here: ask localhost or 127.0.0.1, or start with --host."
            )
        # Where no proxy stands before it, what came encrypted is the page of another server.
        scheme, _, origin_host = (origin or f"http://{host}").lower().partition("://")
        if origin_host != host.lower() or (self.is_alone and scheme != "http"):
            return "Requests of another page are refused."
        if self.is_closed and self.is_closed(scope.get("method", "GET"), scope["path"]):
            return "This is not offered here."
        return None


class FailureMiddleware:
    """What an ASGI application fails on becomes one sentence for who asks and one for the log."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        has_started = False

        async def sending(message: Any) -> None:
            nonlocal has_started
            has_started = True
            await send(message)

        try:
            await self.app(scope, receive, sending)
        except (Exception, asyncio.CancelledError) as error:
            if scope["type"] != "http":
                raise
            from starlette.requests import ClientDisconnect
            from starlette.responses import JSONResponse

            if isinstance(error, ClientDisconnect):  # Nobody waits for an answer.
                return
            refusal, status = "There is nothing that could answer this request.", 400
            if isinstance(error, asyncio.CancelledError):
                refusal, status = "The server ends before it could answer.", 503
            else:
                # The message may quote the request, which is written nowhere.
                logger.error("A request failed: %s.", type(error).__name__)
            if has_started:
                await send({"type": "http.response.body"})
                return
            await JSONResponse({"error": refusal}, status)(scope, receive, send)
