"""An HTTP server (extra `serve`): `POST /predict` and `GET /healthz`."""

import asyncio
import json
import logging
import re
import signal
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, NamedTuple

from sentiment_hf.arguments import check_whole, listed_texts
from sentiment_hf.errors import SentimentError, json_text, needs_extra
from sentiment_hf.http_access import MOST_BYTES, MOST_CHARACTERS, THIS_MACHINE, listen, middleware
from sentiment_hf.pipeline import SentimentPipeline
from sentiment_hf.signals import ENDING_SIGNALS

with needs_extra("serve", "The server needs starlette and uvicorn"):
    import uvicorn
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route

MOST_TEXTS = 1000
MOST_WAITING_REQUESTS = 256
MOST_CONNECTIONS = 1000
SECONDS_TO_FINISH = 30
FORM = 'Send {"text": "..."} or {"texts": ["...", ...]}, with "top_k" for more labels of each.'
LONE_SURROGATE = re.compile("[\ud800-\udfff]")

logger = logging.getLogger(__name__)


def serve(
    model: str | None = None,
    host: str | None = None,
    port: int = 8000,
    *,
    backend: str = "auto",
) -> None:
    """Answers with a MODEL until SIGTERM, SIGHUP or Ctrl-C, then finishes the requests that it has.

    Args:
        host: the address to listen at; this machine alone by default.
        port: 0 is any free one.
        backend: as in `SentimentPipeline.from_pretrained`.

    Raises:
        SentimentError: no such checkpoint, or it cannot listen there.
        KeyboardInterrupt: it was ended by Ctrl-C.
    """
    host = host or THIS_MACHINE
    with listen(host, port) as listener:
        name, number = listener.getsockname()[:2]
        pipe = SentimentPipeline.from_pretrained(model, backend=backend)
        app = build_server(pipe, host=host, address=name)
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False,
            limit_concurrency=MOST_CONNECTIONS, timeout_graceful_shutdown=SECONDS_TO_FINISH,
        )  # fmt: skip
        address = f"http://{f'[{name}]' if ':' in name else name}:{number}"
        print(f"Listening at {address} (Ctrl+C ends it)", flush=True)
        _Server(config).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Ends with status 0 on SIGTERM and SIGHUP; what is ignored, as by a job in the background,
    stays ignored."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        handled = signal.SIGINT, *ENDING_SIGNALS
        self._ignored = [one for one in handled if signal.getsignal(one) is signal.SIG_IGN]
        with suppress(ValueError):  # Another thread than the first one cannot handle any.
            for one in ENDING_SIGNALS:  # uvicorn does not know of SIGHUP.
                signal.signal(one, self.handle_exit)

    def handle_exit(self, sig: int, frame: Any) -> None:
        if sig in ENDING_SIGNALS and sig not in self._ignored:
            # uvicorn would raise the signal once more at the end, and the process die of it.
            self.should_exit = True
        elif sig not in self._ignored:
            super().handle_exit(sig, frame)


def build_server(
    pipe: SentimentPipeline,
    *,
    host: str = THIS_MACHINE,
    address: str = THIS_MACHINE,
    most_waiting: int = MOST_WAITING_REQUESTS,
) -> Starlette:
    """The ASGI application for one pipeline.

    Args:
        host, address: where it will listen, see `AccessMiddleware`; on a loopback address other
            names than this machine's are refused.
        most_waiting: requests that may wait for the network; more are refused (503).
    """
    batcher = _Batcher(pipe, most_waiting)

    async def predict(request: Request) -> Response:
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > MOST_BYTES:
                raise HTTPException(413, f"The body is larger than {MOST_BYTES:,} bytes.")
        texts, top_k = _parse(bytes(body))
        answers = await batcher.answer(texts, top_k)
        rows = [
            {"text": text, **answer}
            for text, labels in zip(texts, answers, strict=True)
            for answer in labels[:top_k]
        ]
        return Response(json_text(rows), media_type="application/json")

    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "ok", "waiting": batcher.waiting()})

    async def refuse(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(batcher.run())
        yield
        task.cancel()

    return Starlette(
        routes=[Route("/predict", predict, methods=["POST"]), Route("/healthz", healthz)],
        middleware=middleware(host, address),
        exception_handlers={HTTPException: refuse},
        lifespan=lifespan,
    )


def _parse(body: bytes) -> tuple[list[str], int | None]:
    """The texts and `top_k` of a request."""
    try:
        values = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"The body is no JSON. {FORM}") from error
    keys = set(values) if isinstance(values, dict) else set()
    if len(keys & {"text", "texts"}) != 1 or keys - {"text", "texts", "top_k"}:
        raise HTTPException(422, FORM)
    given, top_k = values.get("text", values.get("texts")), values.get("top_k", 1)
    texts = [given] if isinstance(given, str) else given
    try:
        _check_texts(texts)
        check_whole("top_k", top_k)
    except SentimentError as error:
        raise HTTPException(422, str(error)) from error
    return texts, top_k


def _check_texts(texts: Any) -> None:
    if not isinstance(texts, list) or not texts:
        raise SentimentError(f"There is no text. {FORM}")
    if len(texts) > MOST_TEXTS:
        raise SentimentError(f"There are {len(texts):,} texts; a request has up to {MOST_TEXTS:,}.")
    for number, text in enumerate(listed_texts(texts)):
        if len(text) > MOST_CHARACTERS:
            found = f"{len(text):,} characters; up to {MOST_CHARACTERS:,} are read"
            raise SentimentError(f"Text number {number} has {found}.")
        if LONE_SURROGATE.search(text):
            raise SentimentError(f"Text number {number} has half a character, a lone surrogate.")


_Answers = list[list[dict[str, Any]]]


class _Request(NamedTuple):
    texts: list[str]
    top_k: int | None
    answers: "asyncio.Future[_Answers]"


class _Batcher:
    """Computes in one thread; the requests that come meanwhile are computed together next."""

    def __init__(self, pipe: SentimentPipeline, most_waiting: int) -> None:
        self._pipe = pipe
        self._waiting: asyncio.Queue[_Request] = asyncio.Queue(most_waiting)
        self._thread = ThreadPoolExecutor(1)

    async def answer(self, texts: list[str], top_k: int | None) -> _Answers:
        """For each text at least `top_k` labels with scores, best first."""
        request = _Request(texts, top_k, asyncio.get_running_loop().create_future())
        try:
            self._waiting.put_nowait(request)
        except asyncio.QueueFull as error:
            raise HTTPException(503, "Too many requests are waiting; try again later.") from error
        return await request.answers

    def waiting(self) -> int:
        """Requests that nobody computes yet."""
        return self._waiting.qsize()

    async def run(self) -> None:
        while True:
            batch = [await self._waiting.get()]
            texts = len(batch[0].texts)
            while texts < MOST_TEXTS and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
                texts += len(batch[-1].texts)
            await self._compute(batch)

    async def _compute(self, batch: list[_Request]) -> None:
        texts = [text for request in batch for text in request.texts]
        wanted = [request.top_k for request in batch]
        top_k = None if None in wanted else max(k for k in wanted if k is not None)
        call = partial(self._pipe, texts, top_k=top_k)
        try:
            answers = iter(await asyncio.get_running_loop().run_in_executor(self._thread, call))
        except Exception as error:
            # One text can be the reason: the other requests of the batch get their answers.
            if len(batch) > 1:
                for request in batch:
                    await self._compute([request])
                return
            # The message may quote the text, which is written nowhere.
            logger.error("A request failed: %s.", type(error).__name__)
            refusal = HTTPException(500, "The answer could not be computed.")
            if not batch[0].answers.done():
                batch[0].answers.set_exception(refusal)
            return
        for request in batch:
            own = [next(answers) for _ in request.texts]
            if not request.answers.done():
                request.answers.set_result(own)
