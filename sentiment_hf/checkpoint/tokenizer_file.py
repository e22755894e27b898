"""The tokenizer of a checkpoint: its two files, and a load that takes only the vocabulary."""

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from sentiment_hf.checkpoint.files import read_json, write_json, write_text
from sentiment_hf.checkpoint.folder import TOKENIZER_CONFIG_FILE, TOKENIZER_FILE
from sentiment_hf.data.tokenization import PAD_TOKEN, UNK_TOKEN, tokenizer_config, word_tokenizer
from sentiment_hf.errors import SentimentError, first_line
from sentiment_hf.model.config import LSTMConfig


def write_tokenizer(folder: Path, tokenizer: Tokenizer) -> None:
    """Writes the tokenizer's two files; before the weights, which name its checksum."""
    write_text(folder / TOKENIZER_FILE, tokenizer.to_str(pretty=True))
    write_json(folder / TOKENIZER_CONFIG_FILE, tokenizer_config())


def read_tokenizer(folder: Path, config: LSTMConfig) -> Tokenizer:
    """Reads the vocabulary of `tokenizer.json`, if `train_tokenizer` could have made the rest."""
    path = folder / TOKENIZER_FILE
    content = read_json(path)
    problem = _tokenizer_problem(content, config)
    if problem:
        raise SentimentError(f"{path}: {problem}.")
    try:
        return word_tokenizer(content["model"]["vocab"])
    except Exception as error:  # Such as a word that is half a character.
        raise SentimentError(f"{path} could not be read: {first_line(error)}") from error


def _tokenizer_problem(content: dict[str, Any], config: LSTMConfig) -> str | None:
    own = json.loads(word_tokenizer({PAD_TOKEN: 0, UNK_TOKEN: 1}).to_str())
    model = content.get("model")
    if not isinstance(model, dict) or model.get("type") != "WordLevel":
        return "its model is not of the type WordLevel"
    vocabulary = model.get("vocab")
    if not isinstance(vocabulary, dict) or model.get("unk_token") != UNK_TOKEN:
        return f"its model has no vocab with the unk_token {UNK_TOKEN}"
    ids = list(vocabulary.values())
    if not all(type(i) is int for i in ids) or sorted(ids) != list(range(len(ids))):
        return "the ids of its vocab are not the numbers from 0 on, each once"
    if len(ids) != config.vocab_size:
        return (
            f"its vocab has {len(ids)} words, but config.json's vocab_size is {config.vocab_size}"
        )
    for token, token_id in ((PAD_TOKEN, config.pad_token_id), (UNK_TOKEN, config.unk_token_id)):
        if vocabulary.get(token) != token_id:
            return f"its id of {token} is not the {token_id} of config.json"
    # A pattern of a stranger could multiply a text or take for ever over it.
    for part in sorted(own.keys() - {"version", "model"}):
        found = content.get(part) or None
        if found != (own[part] or None) and not _is_of_transformers(part, found, vocabulary):
            return f"its {part} is not the one that `train_tokenizer` writes"
    return None


def _is_of_transformers(part: str, found: Any, vocabulary: dict[str, Any]) -> bool:
    """Whether it is what transformers adds when it saves our tokenizer, which changes no ids."""
    if part == "post_processor" and isinstance(found, dict):
        return found.get("type") == "TemplateProcessing" and found.get("special_tokens") == {}
    return (
        part == "added_tokens"
        and isinstance(found, list)
        and all(
            isinstance(token, dict)
            and token.get("content") in (PAD_TOKEN, UNK_TOKEN)
            and token.get("id") == vocabulary[token["content"]]
            for token in found
        )
    )
