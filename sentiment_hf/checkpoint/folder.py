"""A checkpoint folder: its file names, how it is written, and a load that trusts nothing."""

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer

from sentiment_hf.checkpoint.files import STAGED, read_json, write_json, write_tensors
from sentiment_hf.data.tokenization import PAD_TOKEN, UNK_TOKEN, tokenizer_config
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

CHECKSUM_KEY = "sha256"
FORMAT = {"format": "pt"}  # Without it transformers 4 refuses the file.
HEAD = "linear."
ENCODER_ARCHITECTURE = "LSTMEncoder"

REFERENCE_FOLDER = Path(__file__).parent.parent / "reference"
REFERENCE_NAME = "reference"

# What a tokenizer file may be made of: each piece works word by word on any text. Others,
# such as a damaged `Precompiled` map, bring the whole process down.
NORMALIZERS = {"Sequence", "NFC", "NFD", "NFKC", "NFKD", "Lowercase", "Replace", "StripAccents"}
PRE_TOKENIZERS = {"Sequence", "Split", "Whitespace", "WhitespaceSplit", "Punctuation", "Digits"}


def is_checkpoint(folder: Path) -> bool:
    return os.path.exists(folder / CONFIG_FILE)


def foreign_names(folder: Path, also_ours: set[str]) -> list[str]:
    """What lies in a folder and is no part of a checkpoint."""
    ours = {pattern.partition("/")[0] for pattern in PUBLISHED_FILES} | also_ours | {STAGED}
    ours |= {f"{name}.new" for name in ours}
    found = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    return sorted(found - ours)


def is_own_file(path: Path) -> bool:
    """Whether a file of a checkpoint lies there itself; a link may lead anywhere."""
    return path.is_file() and not path.is_symlink()


def published(folder: Path) -> list[Path]:
    """The files of a folder that are published: regular files with the names of the contract."""
    found = [path for pattern in PUBLISHED_FILES for path in sorted(folder.glob(pattern))]
    # A linked folder leads elsewhere as a linked file does; the checkpoint's own may be a link.
    own = [path for path in found if path.parent == folder or not path.parent.is_symlink()]
    return [path for path in own if is_own_file(path)]


def write_network(folder: Path, network: "LSTMClassifier") -> None:
    """Writes `config.json` and `model.safetensors`, the weights in the configuration's `dtype`."""
    _write(folder, network.config.to_dict(), network.state_dict(), network.config.dtype)


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
    checksum = weights_checksum({name: tensor.numpy() for name, tensor in stored.items()})
    write_tensors(folder / WEIGHTS_FILE, stored, {CHECKSUM_KEY: checksum, **FORMAT})


def weights_checksum(tensors: dict[str, np.ndarray]) -> str:
    """The sha256 of all tensors: damage that leaves a file readable is noticed by it."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensors[name]).data)
    return digest.hexdigest()


def write_tokenizer(folder: Path, tokenizer: Tokenizer) -> None:
    tokenizer.save(str(folder / TOKENIZER_FILE))
    write_json(folder / TOKENIZER_CONFIG_FILE, tokenizer_config())


def read_config(folder: Path) -> LSTMConfig:
    """Reads `config.json`; see `LSTMConfig.from_dict` for what is refused."""
    values = read_json(folder / CONFIG_FILE)
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
    return read_json(folder / CONFIG_FILE).get("architectures") == [ENCODER_ARCHITECTURE]


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
    try:
        with safe_open(path, framework="np") as file:
            found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            _compare(path, expected, found)
            tensors = {name: file.get_tensor(name) for name in expected}
            checksum = (file.metadata() or {}).get(CHECKSUM_KEY)
    except FileNotFoundError as error:
        raise SentimentError(f"{path.parent} has no {path.name}.") from error
    except (SafetensorError, OSError) as error:
        raise SentimentError(f"{path} is damaged: {str(error)[:120]}") from error
    except (TypeError, AttributeError) as error:  # A kind of number that numpy does not know.
        raise SentimentError(f"{path} holds no weights: {str(error)[:120]}.") from error
    if checksum is not None and checksum != weights_checksum(tensors):
        raise SentimentError(f"{path} is damaged: its weights differ from their checksum.")
    for name, tensor in tensors.items():
        if tensor.dtype.kind != "f":
            raise SentimentError(f"{path}: {name} holds {tensor.dtype}, not weights.")
        # The file is mapped into memory: a copy stays what it is when the file changes.
        tensors[name] = tensor.astype(np.float32)
        if not np.isfinite(tensors[name]).all():
            raise SentimentError(f"{path}: {name} holds numbers that are not finite.")
    return tensors


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
    """Reads `tokenizer.json` after looking at all that could hurt.

    Raises:
        SentimentError: the file is missing, damaged, no word-level tokenizer, or its ids do not
            fit the embedding.
    """
    path = folder / TOKENIZER_FILE
    content = read_json(path)
    try:
        problem = _tokenizer_problem(content, config)
    except RecursionError:
        problem = "it is nested too deeply"
    if problem:
        raise SentimentError(f"{path}: {problem}.")
    content.update(post_processor=None, added_tokens=[])
    try:
        return Tokenizer.from_str(json.dumps(content))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # A panic in the library is no Exception.
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
    for part, allowed in (("normalizer", NORMALIZERS), ("pre_tokenizer", PRE_TOKENIZERS)):
        for kind in _piece_types(content.get(part)):
            if not isinstance(kind, str) or kind not in allowed:
                return f"its {part} has a piece of the type {kind!r:.60}"
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


def _piece_types(piece: Any) -> list[Any]:
    if piece is None:
        return []
    if not isinstance(piece, dict):
        return [piece]
    inner = piece.get("normalizers") or piece.get("pretokenizers") or []
    below = (
        [kind for part in inner for kind in _piece_types(part)] if isinstance(inner, list) else []
    )
    return [piece.get("type"), *below]
