"""The weights of a checkpoint: written with checksums, and a load that trusts nothing."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open

from sentiment_hf.checkpoint.files import LARGEST_CONFIG_BYTES, read_json, write_json, write_tensors
from sentiment_hf.checkpoint.folder import CONFIG_FILE, TOKENIZER_FILE, WEIGHTS_FILE, read_config
from sentiment_hf.errors import SentimentError, first_line
from sentiment_hf.model.config import LSTMConfig
from sentiment_hf.version import __version__

if TYPE_CHECKING:
    from sentiment_hf.model.network import LSTMClassifier

# In the header of the weights: the checksum alone, as earlier versions wrote it; and one JSON
# object with those of the files that the weights belong to.
CHECKSUM_KEY = "sha256"
CHECKSUMS_KEY = "checksums"
FORMAT = {"format": "pt"}  # Without it transformers 4 refuses the file.
HEAD = "linear."
ENCODER_ARCHITECTURE = "LSTMEncoder"


def write_network(folder: Path, network: "LSTMClassifier", **fields: Any) -> None:
    """Writes `config.json` and `model.safetensors`, the weights in the configuration's `dtype`.

    Args:
        fields: what `config.json` holds besides, or instead.
    """
    import torch

    dtype, tensors = network.config.dtype, network.state_dict()
    values = {**network.config.to_dict(), **fields}
    if values["architectures"] == [ENCODER_ARCHITECTURE]:
        tensors = _without_head(tensors)
    stored = {
        name: tensor.detach().to("cpu", getattr(torch, dtype)).contiguous()
        for name, tensor in tensors.items()
    }
    for name, tensor in stored.items():
        if not torch.isfinite(tensor).all():
            raise SentimentError(
                f"{name} holds numbers that are not finite in {dtype}: training has diverged; try a"
                " smaller `learning_rate`.",
                exit_status=1,
            )
    write_json(folder / CONFIG_FILE, {**values, "sentiment_hf_version": __version__})
    checksums = files_checksums(folder)
    checksums[WEIGHTS_FILE] = weights_checksum(
        {name: tensor.numpy() for name, tensor in stored.items()}
    )
    metadata = {CHECKSUMS_KEY: json.dumps(checksums, sort_keys=True), **FORMAT}
    write_tensors(folder / WEIGHTS_FILE, stored, metadata)


def write_encoder(folder: Path, network: "LSTMClassifier") -> None:
    """Writes a network without its head: what `pretrain` makes and `read_encoder` reads."""
    write_network(folder, network, architectures=[ENCODER_ARCHITECTURE])


def read_weights(folder: Path, config: LSTMConfig) -> dict[str, np.ndarray]:
    """Reads the weights of a whole network, strictly, in float32.

    The names and shapes in the file's header are compared with the configuration before any
    memory is taken, so the memory is bounded by the size of the file.

    Raises:
        SentimentError: the file is missing or damaged, a tensor is missing, foreign, of another
            shape than the configuration says, or holds numbers that are not finite.
    """
    if is_encoder(folder):
        raise SentimentError(
            f"{folder} holds a pretrained encoder without a head: fine-tune it with"
            " `train` and `init_from`."
        )
    return read_tensors(folder / WEIGHTS_FILE, config.weight_shapes())


def is_encoder(folder: Path) -> bool:
    values = read_json(folder / CONFIG_FILE, LARGEST_CONFIG_BYTES)
    return values.get("architectures") == [ENCODER_ARCHITECTURE]


def read_encoder(folder: Path, network: "LSTMClassifier") -> None:
    """Loads embedding and LSTM of a checkpoint or a pretrained encoder into a network.

    The head comes along where the checkpoint has one of the same labels and pooling.
    """
    import torch

    config, own = read_config(folder), network.config
    shapes = config.weight_shapes()
    if is_encoder(folder):
        shapes = _without_head(shapes)
    tensors = read_tensors(folder / WEIGHTS_FILE, shapes)
    if (config.label_names, config.pooling) != (own.label_names, own.pooling):
        tensors = _without_head(tensors)
    found = {name: torch.from_numpy(values) for name, values in tensors.items()}
    network.load_state_dict(found, strict=False)


def _without_head(tensors: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in tensors.items() if not name.startswith(HEAD)}


def read_tensors(path: Path, expected: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Reads exactly the tensors that are expected, as float32."""
    try:
        with _opened(path) as file:
            found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            for name in [*expected, *sorted(found)]:
                asked, has = expected.get(name, "none"), found.get(name, "none")
                if asked != has:
                    raise SentimentError(
                        f"{path}: of the tensor {name[:80]!r} config.json asks for the shape"
                        f" {asked}, and the file has {has}."
                    )
            tensors = {name: file.get_tensor(name) for name in expected}
            checksums = _checksums(file.metadata())
    except FileNotFoundError as error:
        raise SentimentError(f"{path.parent} has no {path.name}.") from error
    except (SafetensorError, OSError) as error:
        raise SentimentError(f"{path} is damaged: {first_line(error)}") from error
    except (TypeError, AttributeError) as error:  # A kind of number that numpy does not know.
        raise SentimentError(f"{path} holds no weights: {first_line(error)}.") from error
    if checksums.pop(WEIGHTS_FILE, None) not in (None, weights_checksum(tensors)):
        raise SentimentError(f"{path} is damaged: its weights differ from their checksum.")
    check_files(path.parent, path.name, checksums)
    for name, tensor in tensors.items():
        if tensor.dtype.kind != "f":
            raise SentimentError(f"{path}: {name} holds {tensor.dtype}, not weights.")
        # The file is mapped into memory: a copy stays what it is when the file changes.
        tensors[name] = tensor.astype(np.float32)
        if not np.isfinite(tensors[name]).all():
            raise SentimentError(f"{path}: {name} holds numbers that are not finite.")
    return tensors


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The tensors of a file, once it is a regular one whose header takes little memory."""
    if path.exists() and not path.is_file():
        raise SentimentError(f"{path} is no regular file; it was not read.")
    with path.open("rb") as file:
        header_bytes = int.from_bytes(file.read(8), "little")
    if header_bytes > LARGEST_CONFIG_BYTES:
        raise SentimentError(f"{path} is damaged: its header is too large; it was not read.")
    with safe_open(path, framework="np") as tensors:
        yield tensors


def files_checksums(folder: Path) -> dict[str, str]:
    """The checksums of the configuration and the tokenizer of a folder, where it has them."""
    belonging = [name for name in (CONFIG_FILE, TOKENIZER_FILE) if (folder / name).exists()]
    return {name: _content_checksum(folder / name) for name in belonging}


def check_files(
    folder: Path, name: str, checksums: dict[str, Any], *, without: tuple[str, ...] = ()
) -> None:
    """Compares a folder's configuration and tokenizer with those that a file was made with.

    Args:
        name: the file, as the message names it.
        checksums: of the files that it was made with, by their names.
        without: keys of the configuration that were added after its checksum was taken.
    """
    for other in (CONFIG_FILE, TOKENIZER_FILE):
        path = folder / other
        if other not in checksums or not path.exists():
            continue
        if checksums[other] != _content_checksum(path, without):
            raise SentimentError(
                f"{folder / name} belongs to another {other} than its folder holds: the folder is"
                " being written, or was changed by hand; load it again, or write it anew."
            )


def weights_checksum(tensors: dict[str, np.ndarray]) -> str:
    """The sha256 of all tensors: damage that leaves a file readable is noticed by it."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensors[name]).data)
    return digest.hexdigest()


def _content_checksum(path: Path, without: tuple[str, ...] = ()) -> str:
    """The sha256 of what is read of a configuration or a tokenizer, however it is laid out."""
    values = read_json(path)
    content: Any = {key: value for key, value in values.items() if key not in without}
    if path.name == TOKENIZER_FILE:
        model = values.get("model")
        content = model.get("vocab") if isinstance(model, dict) else None
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def checksum_of_weights(folder: Path) -> str | None:
    """The checksum by which records name the weights in a folder; None where it has none.

    It is taken of the weights themselves where the file does not say it, as others write it.
    """
    try:
        with _opened(folder / WEIGHTS_FILE) as file:
            named = _checksums(file.metadata()).get(WEIGHTS_FILE)
            names = file.keys()
            return named or weights_checksum({name: file.get_tensor(name) for name in names})
    except (SentimentError, SafetensorError, OSError, TypeError, AttributeError):
        return None


def header_checksums(folder: Path) -> dict[str, Any]:
    try:
        with _opened(folder / WEIGHTS_FILE) as file:
            return _checksums(file.metadata())
    except (SentimentError, SafetensorError, OSError):
        return {}


def _checksums(metadata: dict[str, str] | None) -> dict[str, Any]:
    """What the header of a weights file says of the weights and of the files they belong to."""
    metadata = metadata or {}
    if CHECKSUMS_KEY not in metadata:
        return {WEIGHTS_FILE: metadata[CHECKSUM_KEY]} if CHECKSUM_KEY in metadata else {}
    try:
        return dict(json.loads(metadata[CHECKSUMS_KEY]))
    except (ValueError, TypeError, RecursionError):
        return {WEIGHTS_FILE: "damaged"}
