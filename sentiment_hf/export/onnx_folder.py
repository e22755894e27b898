"""A folder with `model.onnx` and all that it takes to run it; and the graph of any checkpoint."""

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import get_args

from sentiment_hf.checkpoint.files import read_json, replaced_file, write_json
from sentiment_hf.checkpoint.folder import CONFIG_FILE, TOKENIZER_FILE, WEIGHTS_FILE
from sentiment_hf.checkpoint.staging import new_folder
from sentiment_hf.checkpoint.tokenizer_file import write_tokenizer
from sentiment_hf.checkpoint.weights import check_files, files_checksums, read_weights
from sentiment_hf.errors import SentimentError
from sentiment_hf.export import onnx
from sentiment_hf.export.folder import Source, free_folder, open_source, write_card
from sentiment_hf.export.onnx_check import check_graph
from sentiment_hf.model.config import LSTMConfig
from sentiment_hf.version import __version__

# Where optimum and transformers.js look for it.
GRAPH_FILE = "onnx/model.onnx"
# In the configuration: the checksum of the graph; and, as one object, those of the configuration
# itself, without these two, and of the tokenizer, which earlier versions did not write.
CHECKSUM_KEY = "onnx_sha256"
CHECKSUMS_KEY = "onnx_checksums"
# Over all of IMDB's test reviews; any other checkpoint's loss is for its user to measure.
INT8_MEASURED = (
    " With int8 the reference checkpoint of sentiment-hf has an accuracy of 0.9349 on the 25,000"
    " test reviews of IMDB, with float16 0.9352; 16 verdicts differ."
)
CARD_TEMPLATE = Path(__file__).parent / "onnx_card.md"


def export_onnx(
    model: str | Path | None, output: str | Path, *, dtype: onnx.Dtype | None = None
) -> Path:
    """Writes `onnx/model.onnx`, the tokenizer, `config.json` and a card that says how to run it.

    Args:
        model: a checkpoint; the reference checkpoint by default.
        output: a folder that does not exist, or is empty.
        dtype: how the weights are stored; as the checkpoint stores them by default, so that
            nothing changes.

    Raises:
        SentimentError: no such checkpoint, or a pretrained encoder, which has no answers; the
            folder is not empty; onnx is not installed.
    """
    output, source = free_folder(output), open_source(model)
    graph = source_graph(source, dtype)
    with new_folder(output) as new:
        write_runnable(new, source, graph)
        dtype = dtype or source.config.dtype
        rounding = INT8_MEASURED if dtype == "int8" else ""
        write_card(new, CARD_TEMPLATE, source, dtype=dtype, rounding=rounding)
    return output


def source_graph(source: Source, dtype: onnx.Dtype | None) -> bytes:
    if dtype is not None and dtype not in get_args(onnx.Dtype):
        kinds = ", ".join(get_args(onnx.Dtype))
        raise SentimentError(f"`dtype` must be one of {kinds}, not {dtype!r:.60}.")
    config = source.config
    return onnx.build_graph(config, read_weights(source.folder, config), dtype or config.dtype)


def write_runnable(folder: Path, source: Source, graph: bytes) -> None:
    """Writes all that it takes to run a graph."""
    path = folder / GRAPH_FILE
    path.parent.mkdir()
    path.write_bytes(graph)
    write_tokenizer(folder, source.tokenizer)
    values = {**source.config.to_dict(), "sentiment_hf_version": __version__}
    write_json(folder / CONFIG_FILE, values)
    noted = {CHECKSUM_KEY: _sha256(graph), CHECKSUMS_KEY: files_checksums(folder)}
    write_json(folder / CONFIG_FILE, {**values, **noted})


def is_export(folder: Path) -> bool:
    return CHECKSUM_KEY in read_json(folder / CONFIG_FILE)


def read_graph(folder: Path, config: LSTMConfig) -> bytes:
    """The graph of an exported folder, whose files must have been written together.

    That of a checkpoint is built, unless it was built before.
    """
    if not is_export(folder):
        return _cached_graph(folder, config)
    path = folder / GRAPH_FILE
    if not path.is_file():
        raise SentimentError(f"{folder} has no {GRAPH_FILE}.")
    graph = path.read_bytes()
    values = read_json(folder / CONFIG_FILE)
    if _sha256(graph) != values[CHECKSUM_KEY]:
        raise SentimentError(
            f"{path} is damaged or another checkpoint's: its checksum is not the one in"
            f" {CONFIG_FILE}."
        )
    checksums = values.get(CHECKSUMS_KEY, {})
    if not isinstance(checksums, dict):
        raise SentimentError(f"{folder / CONFIG_FILE}: {CHECKSUMS_KEY} is no object of checksums.")
    check_files(folder, GRAPH_FILE, checksums, without=(CHECKSUM_KEY, CHECKSUMS_KEY))
    check_graph(graph, config, path)
    return graph


def _cached_graph(folder: Path, config: LSTMConfig) -> bytes:
    """The graph of a checkpoint; kept under the checksums of what it is made from and of itself."""
    from huggingface_hub import constants

    # The tokenizer, too: what is in the cache was built when these three files were compared.
    names = (CONFIG_FILE, WEIGHTS_FILE, TOKENIZER_FILE)
    sources = [*(folder / name for name in names), Path(onnx.__file__)]
    key = "".join(_sha256(path.read_bytes())[:16] for path in sources if path.is_file())
    cache = Path(constants.HF_ASSETS_CACHE, "sentiment-hf", "onnx")
    for path in cache.glob(f"{key}-*.onnx"):
        graph = path.read_bytes()
        if path.stem == f"{key}-{_sha256(graph)}":
            return graph
    graph = onnx.build_graph(config, read_weights(folder, config), config.dtype)
    with suppress(OSError):  # A cache that cannot be written is done without.
        cache.mkdir(parents=True, exist_ok=True)
        with replaced_file(cache / f"{key}-{_sha256(graph)}.onnx") as new:
            new.write_bytes(graph)
    return graph


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
