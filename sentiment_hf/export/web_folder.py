"""A page that needs no server: the network with what runs it in the browser of a visitor."""

import hashlib
import json
import logging
import shutil
import subprocess
from html import escape
from pathlib import Path

from sentiment_hf.checkpoint.files import write_text
from sentiment_hf.checkpoint.staging import new_folder
from sentiment_hf.errors import SentimentError
from sentiment_hf.export.folder import free_folder, open_source, write_card
from sentiment_hf.export.onnx import Dtype
from sentiment_hf.export.onnx_folder import source_graph, write_runnable

TEMPLATES = Path(__file__).parent / "web"
STYLE_FILES = (Path(__file__).parent.parent / "reading" / "style.css", TEMPLATES / "style.css")
LIBRARIES_FOLDER = "libraries"
PACKAGES = {"onnxruntime-web": "1.30.0", "@huggingface/tokenizers": "0.2.0"}
# What the page needs of them: the file in `node_modules`, its name beside the page, its sha256.
# A name ends in `.js` because not every host knows that `.mjs` is a script.
LIBRARY_FILES = {
    "onnxruntime-web/dist/ort.wasm.bundle.min.mjs": (
        "ort.wasm.bundle.min.js",
        "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    ),
    "onnxruntime-web/dist/ort-wasm-simd-threaded.wasm": (
        "ort-wasm-simd-threaded.wasm",
        "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
    ),
    "@huggingface/tokenizers/dist/tokenizers.min.mjs": (
        "tokenizers.min.js",
        "258e46332101335ce8d95aed7745b19ac3b46d37f3e159a89cf894c2ea9b1d3a",
    ),
    "@huggingface/tokenizers/LICENSE": (
        "tokenizers.LICENSE",
        "c71d239df91726fc519c6eb72d318ec65820627232b2f796219e87dcf35d0ab4",
    ),
}
LICENSE_FILE = TEMPLATES / "onnxruntime-web.LICENSE"  # The package brings none.
NPM_COMMAND = ["npm", "install", "--ignore-scripts", *map("@".join, PACKAGES.items())]

logger = logging.getLogger(__name__)


def export_web(
    model: str | Path | None,
    output: str | Path,
    *,
    dtype: Dtype | None = None,
    libraries: str | Path | None = None,
) -> Path:
    """Writes a static site that reads texts in the browser, and asks no other host for anything.

    The folder is also what `export_onnx` writes: `SentimentPipeline` opens it.

    Args:
        model: a checkpoint; the reference checkpoint by default.
        output: a folder that does not exist, or is empty.
        dtype: as in `export_onnx`.
        libraries: the folder `node_modules` in which npm has installed onnxruntime-web and
            @huggingface/tokenizers. By default that of the working directory, else one in the
            cache of the Hub's client, which npm fills at the first use.

    Raises:
        SentimentError: as in `export_onnx`; or a library is missing, damaged or of another
            version.
    """
    output, source = free_folder(output), open_source(model)
    graph = source_graph(source, dtype)
    files = _read_libraries(Path(libraries) if libraries else _found_libraries())
    page = (TEMPLATES / "index.html").read_text(encoding="utf-8")
    style = "".join(path.read_text(encoding="utf-8") for path in STYLE_FILES)
    with new_folder(output) as new:
        write_runnable(new, source, graph)
        (new / LIBRARIES_FOLDER).mkdir()
        for name, content in files.items():
            (new / LIBRARIES_FOLDER / name).write_bytes(content)
        shutil.copyfile(LICENSE_FILE, new / LIBRARIES_FOLDER / LICENSE_FILE.name)
        for name in ("page.js", "reader.js"):
            shutil.copyfile(TEMPLATES / name, new / name)
        write_text(new / "index.html", page.replace("{name}", escape(source.name)))
        write_text(new / "style.css", style)
        onnxruntime, tokenizers = PACKAGES.values()
        write_card(
            new, TEMPLATES / "space_card.md", source,
            title=json.dumps(source.name), onnxruntime=onnxruntime, tokenizers=tokenizers,
        )  # fmt: skip
    return output


def _found_libraries() -> Path:
    """`node_modules` of the working directory, or of the cache, which npm fills once."""
    from huggingface_hub import constants

    cache = Path(constants.HF_ASSETS_CACHE, "sentiment-hf", "web")
    for folder in (Path(), cache):
        if all((folder / "node_modules" / place).is_file() for place in LIBRARY_FILES):
            return folder / "node_modules"
    npm = shutil.which("npm")
    if npm is None:
        return Path("node_modules")
    logger.info("npm installs %s into a cache.", " and ".join(NPM_COMMAND[3:]))
    cache.mkdir(parents=True, exist_ok=True)
    options = ["--no-save", "--no-audit", "--no-fund", "--prefer-offline", "--fetch-retries=0"]
    finished = subprocess.run(
        [npm, *NPM_COMMAND[1:], *options, "--prefix", str(cache)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if finished.returncode:
        raise SentimentError(
            f"npm could not install what the page needs ({finished.stderr.strip()[:160]}): run"
            f" `{' '.join(NPM_COMMAND)}` where it can, and name the folder node_modules that it"
            " fills with `libraries`.",
            exit_status=1,
        )
    return cache / "node_modules"


def _read_libraries(folder: Path) -> dict[str, bytes]:
    """The files for the page, which are exactly those that it was tested with."""
    files = {}
    for place, (name, checksum) in LIBRARY_FILES.items():
        path = folder / place
        content = path.read_bytes() if path.is_file() else b""
        if hashlib.sha256(content).hexdigest() != checksum:
            raise SentimentError(
                f"The page needs {path}, which is missing, damaged or of another version: run"
                f" `{' '.join(NPM_COMMAND)}`, and name the folder node_modules that it fills with"
                " `libraries`."
            )
        files[name] = content
    return files
