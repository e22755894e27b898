"""A checkpoint folder: its file names, how it is written, and a load that trusts nothing."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer

from sentiment_hf.checkpoint.files import read_json, write_json, write_tensors, write_text
from sentiment_hf.checkpoint.staging import is_leftover, locked, staged_folder
from sentiment_hf.data.tokenization import (
    PAD_TOKEN,
    UNK_TOKEN,
    tokenizer_config,
    word_tokenizer,
)
from sentiment_hf.errors import SentimentError
from sentiment_hf.model.config import LSTMConfig
from sentiment_hf.version import __version__

if TYPE_CHECKING:
    import torch

    from sentiment_hf.model.network import LSTMClassifier

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
TOKENIZER_FILE = "tokenizer.json"
TOKENIZER_CONFIG_FILE = "tokenizer_config.json"
CARD_FILE = "README.md"
TRAINING_FILE = "training.json"
EVALUATION_FILE = "eval_results.json"
FIGURES_FOLDER = "figures"

# What builds the network; without one of them a folder is no checkpoint.
REQUIRED_FILES = (CONFIG_FILE, WEIGHTS_FILE, TOKENIZER_FILE)
# All that is ever published.
PUBLISHED_FILES = (
    *REQUIRED_FILES,
    TOKENIZER_CONFIG_FILE,
    CARD_FILE,
    TRAINING_FILE,
    EVALUATION_FILE,
    f"{FIGURES_FOLDER}/*.png",
)

LARGEST_CONFIG_BYTES = 1_000_000
# In the header of the weights: the checksum alone, as earlier versions wrote it; and one JSON
# object, because the order of several keys changes from one writing to the next.
CHECKSUM_KEY = "sha256"
CHECKSUMS_KEY = "checksums"
MEASURED_KEY = "weights"
FORMAT = {"format": "pt"}  # Without it transformers 4 refuses the file.
HEAD = "linear."
ENCODER_ARCHITECTURE = "LSTMEncoder"

REFERENCE_FOLDER = Path(__file__).parent.parent / "reference"
REFERENCE_NAME = "reference"


def is_checkpoint(folder: Path) -> bool:
    return os.path.exists(folder / CONFIG_FILE)


def foreign_file(folder: Path, also_ours: tuple[str, ...] = ()) -> str | None:
    """The first thing at any depth of a folder that is no part of a checkpoint."""
    ours = (*PUBLISHED_FILES, *also_ours)

    def first_in(inner: Path) -> str | None:
        for path in sorted(inner.iterdir()):
            name = path.relative_to(folder).as_posix()
            if is_leftover(path) or has_name_of(name, ours):
                continue
            is_ours = any(pattern.startswith(f"{name}/") for pattern in ours)
            found = first_in(path) if is_ours and path.is_dir() and not path.is_symlink() else name
            if found:
                return found
        return None

    return first_in(folder) if folder.is_dir() else None


def has_name_of(name: str, patterns: Iterable[str]) -> bool:
    """Whether the name of a file, relative to its checkpoint, is one of these."""
    depth = name.count("/")
    return any(fnmatchcase(name, p) and p.count("/") == depth for p in patterns)


@contextmanager
def saved_checkpoint(folder: Path) -> Iterator[Path]:
    """Gives a copy of a checkpoint folder to change; the changes then count together.

    The card is not in it: it is rendered from what the folder holds in the end.
    """
    with locked(folder):
        kept = [path for path in published(folder) if path.name != CARD_FILE]
        with staged_folder(folder, published, kept) as new:
            yield new


def drop_other_records(folder: Path) -> None:
    """Removes what was measured of other weights than those in the folder."""
    for name in (TRAINING_FILE, EVALUATION_FILE):
        with suppress(SentimentError):
            if not is_own_file(folder / name) or read_record(folder, name):
                continue
        (folder / name).unlink()
        shutil.rmtree(folder / FIGURES_FOLDER, ignore_errors=True)


def is_own_file(path: Path) -> bool:
    """Whether a file of a checkpoint lies there itself; a link may lead anywhere."""
    return path.is_file() and not path.is_symlink()


def published(folder: Path) -> list[Path]:
    """The files of a folder that are published: regular files with the names of the contract."""
    found = [path for pattern in PUBLISHED_FILES for path in sorted(folder.glob(pattern))]
    # A linked folder leads elsewhere as a linked file does; the checkpoint's own may be a link.
    own = [path for path in found if path.parent == folder or not path.parent.is_symlink()]
    return [path for path in own if is_own_file(path)]


def write_network(folder: Path, network: "LSTMClassifier", **fields: Any) -> None:
    """Writes `config.json` and `model.safetensors`, the weights in the configuration's `dtype`.

    Args:
        fields: what `config.json` holds besides.
    """
    _write(
        folder, {**network.config.to_dict(), **fields}, network.state_dict(), network.config.dtype
    )


def write_encoder(folder: Path, network: "LSTMClassifier") -> None:
    """Writes a network without its head: what `pretrain` makes and `read_encoder` reads."""
    values = {**network.config.to_dict(), "architectures": [ENCODER_ARCHITECTURE]}
    _write(folder, values, _without_head(network.state_dict()), network.config.dtype)


def _write(
    folder: Path, values: dict[str, Any], tensors: "dict[str, torch.Tensor]", dtype: str
) -> None:
    import torch

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
    belonging = [name for name in (CONFIG_FILE, TOKENIZER_FILE) if (folder / name).exists()]
    checksums = {name: _content_checksum(folder / name) for name in belonging}
    checksums[WEIGHTS_FILE] = weights_checksum(
        {name: tensor.numpy() for name, tensor in stored.items()}
    )
    metadata = {CHECKSUMS_KEY: json.dumps(checksums, sort_keys=True), **FORMAT}
    write_tensors(folder / WEIGHTS_FILE, stored, metadata)


def _content_checksum(path: Path) -> str:
    """The sha256 of what is read of a configuration or a tokenizer, however it is laid out."""
    content: Any = read_json(path)
    if path.name == TOKENIZER_FILE:
        model = content.get("model")
        content = model.get("vocab") if isinstance(model, dict) else None
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def weights_checksum(tensors: dict[str, np.ndarray]) -> str:
    """The sha256 of all tensors: damage that leaves a file readable is noticed by it."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensors[name]).data)
    return digest.hexdigest()


def write_tokenizer(folder: Path, tokenizer: Tokenizer) -> None:
    """Writes the tokenizer's two files; before the weights, which name its checksum."""
    write_text(folder / TOKENIZER_FILE, tokenizer.to_str(pretty=True))
    write_json(folder / TOKENIZER_CONFIG_FILE, tokenizer_config())


def read_config(folder: Path) -> LSTMConfig:
    """Reads `config.json`; see `LSTMConfig.from_dict` for what is refused."""
    values = read_json(folder / CONFIG_FILE, LARGEST_CONFIG_BYTES)
    try:
        return LSTMConfig.from_dict(values)
    except SentimentError as error:
        raise SentimentError(f"{folder / CONFIG_FILE}: {error}") from error


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

    Raises:
        SentimentError: as in `read_weights`.
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
    if path.exists() and not path.is_file():
        raise SentimentError(f"{path} is no regular file; it was not read.")
    try:
        with safe_open(path, framework="np") as file:
            found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            _compare(path, expected, found)
            tensors = {name: file.get_tensor(name) for name in expected}
            checksums = _checksums(file.metadata())
    except FileNotFoundError as error:
        raise SentimentError(f"{path.parent} has no {path.name}.") from error
    except (SafetensorError, OSError) as error:
        raise SentimentError(f"{path} is damaged: {str(error)[:120]}") from error
    except (TypeError, AttributeError) as error:  # A kind of number that numpy does not know.
        raise SentimentError(f"{path} holds no weights: {str(error)[:120]}.") from error
    if checksums.pop(WEIGHTS_FILE, None) not in (None, weights_checksum(tensors)):
        raise SentimentError(f"{path} is damaged: its weights differ from their checksum.")
    for name in (CONFIG_FILE, TOKENIZER_FILE):
        other = path.parent / name
        if name in checksums and other.exists() and checksums[name] != _content_checksum(other):
            raise SentimentError(
                f"{path} belongs to another {name} than the one beside it: the folder is being"
                " written, or was changed by hand; load the checkpoint again, or save it anew."
            )
    for name, tensor in tensors.items():
        if tensor.dtype.kind != "f":
            raise SentimentError(f"{path}: {name} holds {tensor.dtype}, not weights.")
        # The file is mapped into memory: a copy stays what it is when the file changes.
        tensors[name] = tensor.astype(np.float32)
        if not np.isfinite(tensors[name]).all():
            raise SentimentError(f"{path}: {name} holds numbers that are not finite.")
    return tensors


def _checksums(metadata: dict[str, str] | None) -> dict[str, Any]:
    """What the header of a weights file says of the weights and of the files they belong to."""
    metadata = metadata or {}
    if CHECKSUMS_KEY not in metadata:
        return {WEIGHTS_FILE: metadata[CHECKSUM_KEY]} if CHECKSUM_KEY in metadata else {}
    try:
        return dict(json.loads(metadata[CHECKSUMS_KEY]))
    except (ValueError, TypeError, RecursionError):
        return {WEIGHTS_FILE: "damaged"}


def weights_named(folder: Path) -> str | None:
    """The checksum by which records name the weights in a folder."""
    return _weights_header(folder).get(WEIGHTS_FILE)


def _weights_header(folder: Path) -> dict[str, Any]:
    try:
        with safe_open(folder / WEIGHTS_FILE, framework="np") as file:
            return _checksums(file.metadata())
    except (SafetensorError, OSError):
        return {}


def write_record(folder: Path, name: str, values: dict[str, Any], weights: str | None) -> None:
    """Writes what was measured of the weights of this name."""
    write_json(folder / name, {**values, MEASURED_KEY: weights})


def read_record(folder: Path, name: str) -> dict[str, Any]:
    """What was measured of the weights in the folder; empty where there is nothing.

    A record that names no weights, as earlier versions wrote it, is that of weights that name no
    other files.
    """
    if not is_own_file(folder / name):
        return {}
    values = read_json(folder / name, LARGEST_CONFIG_BYTES)
    header = _weights_header(folder)
    is_old = MEASURED_KEY not in values and CONFIG_FILE not in header
    return values if is_old or values.get(MEASURED_KEY) == header.get(WEIGHTS_FILE) else {}


def _compare(path: Path, expected: dict[str, Any], found: dict[str, Any]) -> None:
    for name, shape in expected.items():
        if name not in found:
            raise SentimentError(f"{path} has no tensor {name!r}, which its config.json asks for.")
        if found[name] != shape:
            raise SentimentError(
                f"{path}: {name} has the shape {found[name]}, but config.json asks for {shape}."
            )
    foreign = sorted(set(found) - set(expected))
    if foreign:
        raise SentimentError(
            f"{path} has a tensor {foreign[0][:80]!r}, for which config.json has no place."
        )


def read_tokenizer(folder: Path, config: LSTMConfig) -> Tokenizer:
    """Reads the vocabulary of `tokenizer.json`, and nothing else of it.

    Raises:
        SentimentError: the file is missing, damaged, not made as `train_tokenizer` makes one, or
            its ids do not fit the embedding.
    """
    path = folder / TOKENIZER_FILE
    content = read_json(path)
    problem = _tokenizer_problem(content, config)
    if problem:
        raise SentimentError(f"{path}: {problem}.")
    content.update(post_processor=None, added_tokens=[])
    try:
        return word_tokenizer(content["model"]["vocab"])
    except Exception as error:  # Such as a word that is half a character.
        raise SentimentError(f"{path} could not be read: {str(error)[:120]}") from error


def _tokenizer_problem(content: dict[str, Any], config: LSTMConfig) -> str | None:
    model = content.get("model")
    if not isinstance(model, dict) or model.get("type") != "WordLevel":
        return "its model is not of the type WordLevel"
    vocabulary = model.get("vocab")
    if not isinstance(vocabulary, dict):
        return "its vocab is not an object"
    ids = list(vocabulary.values())
    if not all(type(i) is int for i in ids) or sorted(ids) != list(range(len(ids))):
        return "the ids of its vocab are not the numbers from 0 on, each once"
    if len(ids) != config.vocab_size:
        return (
            f"its vocab has {len(ids)} words, but config.json's vocab_size is {config.vocab_size}"
        )
    if model.get("unk_token") != UNK_TOKEN:
        return f"its unk_token is not {UNK_TOKEN}"
    for token, token_id in ((PAD_TOKEN, config.pad_token_id), (UNK_TOKEN, config.unk_token_id)):
        if vocabulary.get(token) != token_id:
            return f"its id of {token} is not the {token_id} of config.json"
    for part in ("truncation", "padding", "post_processor", "decoder", "added_tokens"):
        if content.get(part) and not _changes_nothing(content[part], vocabulary):
            return f"it sets {part}, which a checkpoint's tokenizer leaves to config.json"
    # Anything else could multiply a text or take for ever over it.
    own = json.loads(word_tokenizer({PAD_TOKEN: 0, UNK_TOKEN: 1}).to_str())
    for part in ("normalizer", "pre_tokenizer"):
        if content.get(part) != own[part]:
            return f"its {part} is not the one that `train_tokenizer` writes"
    return None


def _changes_nothing(part: Any, vocabulary: dict[str, Any]) -> bool:
    """Whether it is what transformers adds when it saves our tokenizer: no ids come of it."""
    if isinstance(part, dict):
        return part.get("type") == "TemplateProcessing" and part.get("special_tokens") == {}
    return isinstance(part, list) and all(
        isinstance(token, dict)
        and token.get("content") in (PAD_TOKEN, UNK_TOKEN)
        and token.get("id") == vocabulary[token["content"]]
        for token in part
    )
