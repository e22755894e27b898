"""Where a training starts: with words of its own texts, or with a pretrained source."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from sentiment_hf.checkpoint import read_config, read_tokenizer
from sentiment_hf.errors import SentimentError
from sentiment_hf.hub import find_checkpoint
from sentiment_hf.network import LSTMConfig
from sentiment_hf.tokenization import train_tokenizer
from sentiment_hf.training.presets import Preset, Pretraining

SIZES_OF_AN_ENCODER = (
    "vocab_size", "embedding_dim", "hidden_size", "num_layers", "bidirectional",
)  # fmt: skip


def find_source(init_from: str | Path | None, vocab_size: int | None) -> Path | None:
    """The folder of a pretrained MODEL; None where none was named.

    Raises:
        SentimentError: there is no such model, or a vocabulary was asked for beside it.
    """
    if init_from is None:
        return None
    if vocab_size is not None:
        raise SentimentError("--vocab-size has no use with --init-from: the words come along.")
    return find_checkpoint(init_from)


def words_and_sizes(
    source: Path | None, texts: Iterable[str], settings: Preset | Pretraining, **fields: Any
) -> tuple[Tokenizer, LSTMConfig]:
    """Tokenizer and configuration: from the texts and settings, or those of the source."""
    if source is None:
        tokenizer = train_tokenizer(texts, settings.vocab_size)
        sizes: dict[str, Any] = {"vocab_size": tokenizer.get_vocab_size()}
    else:
        base = read_config(source)
        tokenizer = read_tokenizer(source, base)
        sizes = {name: getattr(base, name) for name in SIZES_OF_AN_ENCODER}
    return tokenizer, LSTMConfig(**{**settings.network, **sizes, **fields})
