"""The exported page, served as a static host does, and open in a browser."""

import functools
import json
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import browser
import pytest

from sentiment_hf.data.loading import SAMPLE_FOLDER
from sentiment_hf.export.web_folder import export_web

NODE_MODULES = Path(__file__).parent.parent / "node_modules"
ROWS = [
    json.loads(line)
    for split in ("test", "train")
    for line in (SAMPLE_FOLDER / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def host():
    """Serves a folder as any static host does: `host(folder)` gives its address."""
    servers = []

    def serve(folder: Path) -> str:
        handler = functools.partial(Quiet, directory=folder)
        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}/"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Exports a checkpoint as a page: `exported(model)`."""
    if not NODE_MODULES.is_dir():
        pytest.skip("there are no libraries of the page here: npm ci --ignore-scripts")

    def export(model: Path | None) -> Path:
        folder = tmp_path_factory.mktemp("exported") / "site"
        return export_web(model, folder, libraries=NODE_MODULES)

    return export


@pytest.fixture(scope="module")
def address(exported, host) -> str:
    return host(exported(None))


class Visit(browser.Visit):
    def __init__(self, chromium, address: str, path: str = "index.html", **options) -> None:
        super().__init__(chromium, address, path, **options)

    def answer(self) -> tuple[str, float]:
        verdict = self.page.wait_for_selector("[data-verdict][data-label][data-score]")
        return verdict.get_attribute("data-label"), float(verdict.get_attribute("data-score"))

    def wait_for_trajectory(self) -> None:
        self.page.wait_for_selector("#place:not(:disabled)")

    def open_link(self, text: str) -> None:
        """Follows a link to another text; the answer to the one before is gone then."""
        self.page.evaluate("delete document.querySelector('[data-verdict]').dataset.label")
        self.page.evaluate("hash => location.hash = hash", f"#text={quote(text)}")


@pytest.fixture
def visit(chromium, address):
    """Opens the page; at the end nothing may have failed or gone outside."""
    visits = []

    def open_page(path: str = "index.html", where: str = address, **options) -> Visit:
        visits.append(Visit(chromium, where, path, **options))
        return visits[-1]

    yield open_page
    for one in visits:
        one.end()


def link(text: str) -> str:
    return f"index.html#text={quote(text)}"
