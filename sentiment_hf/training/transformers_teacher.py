"""A text classifier of `transformers` as a teacher (extra `transformers`).

Weights are read from safetensors alone and no code of a repository is run.
"""

import hashlib
import os
from collections.abc import Sequence
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
        self.device = pick_device(device)
        self.dtype, _ = pick_training_dtype(self.device, dtype)
        self.model, self.tokenizer = _load(str(model))
        self.model.eval().to(self.device)
        names = self.model.config.id2label
        self.label_names = [str(names[i]) for i in range(len(names))]
        self.encode = HeadAndTailEncoder(self.tokenizer, self.model.config)

    @torch.inference_mode()
    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """`(texts, labels)` in float32, in the order of `label_names`."""
        rows = self.encode(texts)
        answers = np.empty((len(rows), len(self.label_names)), dtype=np.float32)
        pad_id = self.tokenizer.pad_token_id or 0
        for numbers, pieces in texts_of_like_length(rows, None, WORD_PIECES_PER_BATCH):
            here = make_batch(pieces).to(self.device)
            input_ids = here.input_ids.masked_fill(~here.attention_mask, pad_id)
            with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
                logits = self.model(
                    input_ids=input_ids, attention_mask=here.attention_mask.long()
                ).logits
            answers[numbers] = torch.softmax(logits.float(), dim=-1).cpu().numpy()
        return answers

    def checksum(self) -> str:
        """The sha256 of all that the answers depend on."""
        digest = hashlib.sha256(repr((self.label_names, self.encode.max_length)).encode())
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
        limit = tokenizer.model_max_length
        if limit > NO_LIMIT:
            limit = positions - SPARE_POSITIONS
        self.max_length = min(limit, positions, max_length or NO_LIMIT)
        bare = tokenizer("a", add_special_tokens=False)["input_ids"]
        whole = tokenizer("a")["input_ids"]
        start = next(i for i in range(len(whole)) if whole[i : i + len(bare)] == bare)
        self.before, self.after = whole[:start], whole[start + len(bare) :]

    def __call__(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Ids of each text, with the special tokens around them."""
        room = self.max_length - len(self.before) - len(self.after)
        encodings = self.tokenizer(
            list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False
        )
        return [
            np.concatenate([self.before, cut(np.asarray(ids), room), self.after]).astype(np.int64)
            for ids in encodings["input_ids"]
        ]


def _load(model: str) -> tuple[Any, Any]:
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
    except SentimentError:
        raise
    except Exception as error:  # Each kind of damage has an exception of its own.
        reason = first_line(error)
        raise SentimentError(f"The teacher {model!r} cannot be loaded: {reason}") from error
    if report["missing_keys"]:
        raise SentimentError(
            f"The teacher {model!r} has no weights for {sorted(report['missing_keys'])[0]}: it is"
            " no trained classifier."
        )
    if not getattr(tokenizer, "backend_tokenizer", None) or len(tokenizer) <= len(
        tokenizer.all_special_tokens
    ):
        raise SentimentError(f"The teacher {model!r} has no tokenizer beside its weights.")
    return network, tokenizer


def _check_classifier(model: str, config: Any) -> None:
    architectures = ", ".join(config.architectures or ["none"])
    if (
        "ForSequenceClassification" not in architectures
        or config.num_labels < 2
        or config.problem_type == "multi_label_classification"
    ):
        raise SentimentError(
            f"The teacher {model!r} is no text classifier that chooses one of several labels: its"
            f" architecture is {architectures}, with {config.num_labels} labels and the problem"
            f" type {config.problem_type}. Fine-tune it first, for example with"
            " scripts/finetune_teacher.py."
        )
