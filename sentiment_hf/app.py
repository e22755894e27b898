"""The web page (extra `demo`): a review, its verdict, and how the network comes to it."""

import json
import logging
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sentiment_hf.data.batching import cut
from sentiment_hf.data.loading import SAMPLE_FOLDER
from sentiment_hf.data.tokenization import UNK_ID, readable
from sentiment_hf.errors import SentimentError, needs_extra
from sentiment_hf.http_access import MOST_BYTES, MOST_CHARACTERS, THIS_MACHINE, listen, middleware
from sentiment_hf.pipeline import SentimentPipeline
from sentiment_hf.reading.explanation import Explanation
from sentiment_hf.reading.html import STYLE_FILE, TextInspection, render_fragment

if TYPE_CHECKING:
    import gradio

logger = logging.getLogger(__name__)

APP_STYLE_FILE = Path(__file__).parent / "app.css"
MOST_EXPLAINED_WORDS = 1000
LARGEST_PORT = 65535
# All that the page and gradio's client send. Uploads and recordings are not in it.
QUESTIONS = re.compile(r"/gradio_api/(?:queue/join|call/|run/|api/|cancel|reset)")
# gradio would fetch an address of the web there, keep a state, or print what the address says as it
# is, for anyone who asks.
FILES = re.compile(r"/gradio_api/(?:(?:file|proxy)[=/]|deep_link|custom_component/)")
EXAMPLE_CHARACTERS = range(200, 330)
EXAMPLES_PER_LABEL = 2

INTRODUCTION = """# Reading between the layers
A small LSTM reads a review word by word. See its verdict, and how it gets there."""
# Runs in the browser once the page stands: a screen reader hears each new verdict.
ON_LOAD = """() => {
  document.querySelector("#verdict").setAttribute("aria-live", "polite");
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey))
      document.querySelector("#read").click();
  });
}"""


def launch(model: str | None = None, host: str | None = None, port: int | None = None) -> None:
    """Shows the page of a MODEL until it is interrupted.

    Args:
        host: the address to listen at; GRADIO_SERVER_NAME or this machine alone by default.
        port: GRADIO_SERVER_PORT or 7860, or the first free one after that, by default.

    Raises:
        SentimentError: no such checkpoint, gradio is not installed, or it cannot listen there.
    """
    _import_gradio()
    app = build_app(SentimentPipeline.from_pretrained(model))
    print(f"The page is at {serve(app, host, port)} (Ctrl+C ends it)", flush=True)
    try:
        while True:
            time.sleep(1)
    finally:
        app.close(verbose=False)


def serve(app: "gradio.Blocks", host: str | None = None, port: int | None = None) -> str:
    """Serves the page from a thread of its own; `app.close()` ends that. Returns its address."""
    gr = _import_gradio()
    from starlette.middleware import Middleware
    from starlette.middleware.body_limit import RequestBodyLimitMiddleware

    host = host or os.environ.get("GRADIO_SERVER_NAME") or THIS_MACHINE
    # gradio tries a hundred ports, five seconds each, before it says that an address is wrong.
    with listen(host, port or 0) as listener:
        # By a name gradio would listen at all of its addresses.
        address = listener.getsockname()[0]
    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
    limit = Middleware(RequestBodyLimitMiddleware, max_body_size=MOST_BYTES)
    before = [*middleware(host, address, _is_closed), limit]
    try:
        _, url, _ = app.launch(
            server_name=f"[{address}]" if ":" in address else address,
            server_port=port, prevent_thread_lock=True, quiet=True, share=False, ssr_mode=False,
            mcp_server=False, num_workers=0, run_history=False, footer_links=[], js=ON_LOAD,
            theme=gr.themes.Default(primary_hue="slate", **fonts), enable_monitoring=False,
            css_paths=[STYLE_FILE, APP_STYLE_FILE], app_kwargs={"middleware": before},
        )  # fmt: skip
    except OSError as error:
        taken = f"The port {port} is taken" if port else "All ports that gradio tries are taken"
        raise SentimentError(f"{taken}; choose another with `port`.", exit_status=1) from error
    # gradio would tell a browser that pages of other ports may ask; they are refused.
    page: Any = app.app
    page.user_middleware = [one for one in page.user_middleware if "CORS" not in one.cls.__name__]
    page.middleware_stack = page.build_middleware_stack()
    return url


def _is_closed(method: str, path: str) -> bool:
    """Whether a request is for something that the page has no use for."""
    return bool(FILES.match(path)) or (method not in ("GET", "HEAD") and not QUESTIONS.match(path))


def build_app(pipe: SentimentPipeline) -> "gradio.Blocks":
    """The page for one pipeline."""
    gr = _import_gradio()

    def read(text: str | None) -> tuple[dict[str, float] | None, str]:
        return read_review(pipe, text or "")

    examples = example_reviews()
    verdict, reading = read(examples[0])
    with gr.Blocks(title="Reading between the layers", analytics_enabled=False) as app:
        gr.Markdown(INTRODUCTION)
        label = "A review (Ctrl+Enter reads it)"
        review = gr.Textbox(
            examples[0], label=label, lines=4, max_lines=12, max_length=MOST_CHARACTERS,
            elem_id="review",
        )  # fmt: skip
        button = gr.Button("Read it", variant="primary", elem_id="read")
        outputs = [
            gr.Label(verdict, label="Verdict", elem_id="verdict", render=False),
            gr.HTML(reading, elem_id="reading", apply_default_css=False, render=False),
        ]
        gr.Examples(
            [[example] for example in examples], review, outputs, read, label="Or pick one",
            cache_examples=False, run_on_click=True,
        )  # fmt: skip
        for output in outputs:
            output.render()
        gr.on([button.click, review.submit], read, review, outputs, api_name="read")
    process = app.process_api

    async def process_quietly(*arguments: Any, **options: Any) -> dict[str, Any]:
        try:
            return await process(*arguments, **options)
        except Exception as error:
            # gradio would print a traceback of whatever is asked, which may quote the text.
            logger.error("A question failed: %s.", type(error).__name__)
            raise gr.Error("This is no question: send one text.", print_exception=False) from error

    app.process_api = process_quietly
    return app


def example_reviews() -> list[str]:
    """A few reviews of the sample corpus, labels in turn."""
    lines = (SAMPLE_FOLDER / "test.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if len(row["text"]) in EXAMPLE_CHARACTERS]
    texts = [[row["text"] for row in rows if row["label"] == label] for label in ("pos", "neg")]
    return [text for pair in list(zip(*texts))[:EXAMPLES_PER_LABEL] for text in pair]


def read_review(pipe: SentimentPipeline, text: str) -> tuple[dict[str, float] | None, str]:
    """The probability of each label, and what the network made of the text as HTML."""
    if not text.strip():
        return None, render_fragment(notes=["There is nothing to read yet."])
    if len(text) > MOST_CHARACTERS:
        note = f"The text has {len(text):,} characters: the page reads up to {MOST_CHARACTERS:,}."
        return None, render_fragment(notes=[note])
    text = readable(text)
    answers = pipe(text, top_k=None)
    ids = np.array(pipe.tokenizer.encode(text, add_special_tokens=False).ids or [UNK_ID])
    kept = cut(ids, pipe.config.max_length)
    explanation, missing = _explain(pipe, text, len(kept))
    label, score = answers[0]["label"], answers[0]["score"]
    shown = TextInspection(text, label, score, pipe.trajectory(text), explanation)
    labels, notes = shown.sides(pipe.label_names), _notes(ids, kept)
    fragment = render_fragment(shown, pipe.trace([text]), labels, notes, missing)
    return {answer["label"]: answer["score"] for answer in answers}, fragment


def _explain(pipe: SentimentPipeline, text: str, words: int) -> tuple[Explanation | None, str]:
    if words > MOST_EXPLAINED_WORDS:
        return None, f"Only texts of up to {MOST_EXPLAINED_WORDS:,} words are explained."
    try:
        return pipe.explain(text), ""
    except SentimentError as error:
        return None, str(error)


def _notes(ids: np.ndarray, kept: np.ndarray) -> list[str]:
    """What a reader of the verdict has to know about the text."""
    notes = []
    if len(kept) < len(ids):
        notes.append(
            f"The text has {len(ids):,} words: the network reads {len(kept):,} of them, the"
            " beginning and the end."
        )
    unknown = int((kept == UNK_ID).sum())
    if unknown == len(kept):
        notes.append("The network knows none of these words: its verdict says nothing of them.")
    elif unknown:
        notes.append(f"The network does not know {unknown:,} of the {len(kept):,} words it reads.")
    return notes


def _import_gradio() -> Any:
    # Both are read when gradio is imported.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    port = os.environ.get("GRADIO_SERVER_PORT", "7860")
    if not (port.isdecimal() and 0 < int(port) <= LARGEST_PORT):
        raise SentimentError(
            f"GRADIO_SERVER_PORT is {port!r:.60}; it needs a number from 1 to {LARGEST_PORT}."
        )
    with needs_extra("demo", "The page needs gradio"):
        import gradio
    return gradio
