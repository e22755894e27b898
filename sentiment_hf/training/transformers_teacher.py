"""A text classifier of `transformers` as a teacher (extra `transformers`).

Weights are read from safetensors alone and no code of a repository is run.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sentiment_hf.data.batching import cut, make_batch, texts_of_like_length
from sentiment_hf.errors import SentimentError, first_line, needs_extra
from sentiment_hf.model.device import pick_device, pick_training_dtype

WORD_PIECES_PER_BATCH = 16_384
# What tokenizers without a limit say.
NO_LIMIT = 10**9
# Positions that some models keep for themselves, such as RoBERTa's two.
SPARE_POSITIONS = 2


class TransformersTeacher:
    """A sequence classifier with its tokenizer.

    Args:
        model: a folder or a Hub id, also `user/name@revision`.

    Raises:
        SentimentError: it is no classifier of two labels or more, has no tokenizer, needs code of
            its own, or cannot be loaded.
    """

    def __init__(
        self, model: str | Path, *, device: str | None = None, dtype: str | None = None
    ) -> None:
        self.name = str(model)
        self.device = pick_device(device)
        self.dtype, _ = pick_training_dtype(self.device, dtype)
        self.model, self.encode = _load(self.name)
        self.model.eval().to(self.device)
        self.tokenizer = self.encode.tokenizer
        names = self.model.config.id2label
        self.label_names = [str(names[i]) for i in range(len(names))]
        config = self.model.config
        self.pad_id = getattr(config, "pad_token_id", None)
        has_padding = self.pad_id in range(self.model.get_input_embeddings().weight.shape[0])
        # Decoders answer at the last token that is not their padding, and take no batch without
        # one; XLNet answers at the very last.
        if not has_padding or getattr(config, "summary_type", None) == "last":
            self.pad_id, config.pad_token_id = None, -1

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """`(texts, labels)` in float32, in the order of `label_names`.

        Raises:
            SentimentError: the model fails, or what it computes is no number.
        """
        rows = self.encode(texts)
        num_labels = len(self.label_names)
        # Without special tokens, an empty text has no word piece: nothing is known of it.
        answers = np.full((len(rows), num_labels), 1 / num_labels, dtype=np.float32)
        for numbers, pieces in self._batches(rows):
            try:
                answers[numbers] = self._answer(pieces)
            except (torch.OutOfMemoryError, MemoryError):
                raise
            except Exception as error:  # Each architecture has exceptions of its own.
                raise SentimentError(
                    f"The teacher {self.name!r} failed at a text: {first_line(error)}."
                ) from error
        if not np.isfinite(answers).all():
            raise SentimentError(
                f"The teacher {self.name!r} gives answers that are no numbers: its weights are"
                f" damaged, or too large for {self.dtype}."
            )
        return answers

    def _batches(self, rows: list[np.ndarray]) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
        """Row numbers and rows; of one length where the model knows no padding."""
        lengths = np.array([len(ids) for ids in rows], dtype=np.int64)
        groups = [np.flatnonzero(lengths)]
        if self.pad_id is None:
            groups = [
                np.flatnonzero(lengths == length) for length in np.unique(lengths[lengths > 0])
            ]
        for group in groups:
            own = [rows[i] for i in group]
            for numbers, pieces in texts_of_like_length(own, None, WORD_PIECES_PER_BATCH):
                yield group[numbers], pieces

    @torch.inference_mode()
    def _answer(self, pieces: list[np.ndarray]) -> np.ndarray:
        batch = make_batch(pieces).to(self.device)
        input_ids = batch.input_ids.masked_fill(~batch.attention_mask, self.pad_id or 0)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            mask = batch.attention_mask.long()
            logits = self.model(input_ids=input_ids, attention_mask=mask).logits
        return torch.softmax(logits.float(), dim=-1).cpu().numpy()

    def checksum(self) -> str:
        """The sha256 of all that the answers depend on."""
        config = self.model.config.to_dict()
        for name in ("_name_or_path", "transformers_version"):  # The answers stay the same.
            config.pop(name, None)
        digest = hashlib.sha256(repr((self.label_names, self.encode.max_length)).encode())
        digest.update(json.dumps(config, sort_keys=True, default=str).encode())
        digest.update(self.tokenizer.backend_tokenizer.to_str().encode())
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()


class HeadAndTailEncoder:
    """Texts to word pieces: what is longer than the model reads keeps its head and its tail.

    A quarter of the length is the head, as in our own network (Sun et al. 2019,
    arXiv:1905.05583, found head and tail to be the best part of long reviews).
    """

    def __init__(self, tokenizer: Any, config: Any, max_length: int | None = None) -> None:
        self.tokenizer = tokenizer
        positions = getattr(config, "max_position_embeddings", None) or NO_LIMIT
        positions = NO_LIMIT if positions < 0 else positions  # XLNet's is -1.
        limit = tokenizer.model_max_length
        if limit > NO_LIMIT:
            limit = positions - SPARE_POSITIONS
        self.max_length = min(limit, positions, max_length or NO_LIMIT)
        bare = tokenizer("a", add_special_tokens=False)["input_ids"]
        whole = tokenizer("a")["input_ids"]
        start = next(i for i in range(len(whole)) if whole[i : i + len(bare)] == bare)
        self.before, self.after = whole[:start], whole[start + len(bare) :]
        self.room = self.max_length - len(self.before) - len(self.after)
        if self.room < 1:
            raise SentimentError(
                f"The model {tokenizer.name_or_path!r} reads {self.max_length} tokens of a text, of"
                f" which {len(self.before) + len(self.after)} are special: there is no room for"
                " words."
            )

    def __call__(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Ids of each text, with the special tokens around them."""
        encodings = self.tokenizer(
            list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False
        )
        return [
            np.concatenate([self.before, cut(np.asarray(ids), self.room), self.after]).astype(
                np.int64
            )
            for ids in encodings["input_ids"]
        ]


def _load(model: str) -> "tuple[Any, HeadAndTailEncoder]":
    with needs_extra("transformers", f"The teacher {model!r} needs transformers"):
        import transformers
    name, _, revision = (model, "", "") if os.path.isdir(model) else model.partition("@")
    options = {"revision": revision or "main", "trust_remote_code": False}
    try:
        config = transformers.AutoConfig.from_pretrained(name, **options)
        _check_classifier(model, config)
        tokenizer = transformers.AutoTokenizer.from_pretrained(name, use_fast=True, **options)
        network, report = transformers.AutoModelForSequenceClassification.from_pretrained(
            name, use_safetensors=True, output_loading_info=True, **options
        )
        _check_parts(model, network, tokenizer, sorted(report["missing_keys"]))
        # Weights may be stored in float16, which processors hardly compute in.
        return network.float(), HeadAndTailEncoder(tokenizer, config)
    except SentimentError:
        raise
    except Exception as error:  # Each kind of damage has an exception of its own.
        reason = first_line(error)
        raise SentimentError(f"The teacher {model!r} cannot be loaded: {reason}") from error


def _check_parts(model: str, network: Any, tokenizer: Any, missing_keys: list[str]) -> None:
    if missing_keys:
        raise SentimentError(
            f"The teacher {model!r} has no weights for {missing_keys[0]}: it is no trained"
            " classifier."
        )
    special = set(tokenizer.all_special_ids)
    words = set(tokenizer.get_vocab().values()) - special
    if not getattr(tokenizer, "backend_tokenizer", None) or not words:
        raise SentimentError(f"The teacher {model!r} has no tokenizer beside its weights.")
    rows = network.get_input_embeddings().weight.shape[0]
    # Special tokens without an embedding, such as a mask, stand in no text.
    if max(words) >= rows:
        raise SentimentError(
            f"The teacher {model!r} has a tokenizer of {max(words) + 1} words and embeddings of"
            f" {rows}: it is another model's tokenizer."
        )


def _check_classifier(model: str, config: Any) -> None:
    architectures = ", ".join(config.architectures or ["none"])
    if (
        "ForSequenceClassification" not in architectures
        or config.num_labels < 2
        or config.problem_type not in (None, "single_label_classification")
    ):
        raise SentimentError(
            f"The teacher {model!r} is no text classifier that chooses one of several labels: its"
            f" architecture is {architectures}, with {config.num_labels} labels and the problem"
            f" type {config.problem_type}. Fine-tune it first, for example with"
            " scripts/finetune_teacher.py."
        )
    names = config.id2label
    if sorted(names) != list(range(len(names))) or not all(str(names[i]).strip() for i in names):
        raise SentimentError(
            f"The labels of the teacher {model!r} must be numbered from 0 and named; its"
            f" config.json says {str(names)[:200]}."
        )
