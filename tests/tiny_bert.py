"""A BERT of a few weights over a few words, as `transformers` saves one."""

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

SPECIAL = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
POSITIONS = 24


def save_tiny_bert(
    folder: Path,
    words: Sequence[str],
    labels: Sequence[str] = ("neg", "pos"),
    kind: str = "BertForSequenceClassification",
    max_length: int | None = None,
) -> Path:
    """Writes an untrained model and its tokenizer.

    Args:
        kind: a class of `transformers`.
        max_length: what the tokenizer says; the model has 24 positions.
    """
    import transformers

    ids = {word: i for i, word in enumerate([*SPECIAL.values(), *words])}
    config = transformers.BertConfig(
        vocab_size=len(ids),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=POSITIONS,
        initializer_range=1.0,  # With smaller weights it would answer everything alike.
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
    )
    torch.manual_seed(0)
    getattr(transformers, kind)(config).save_pretrained(folder)
    tokenizer = Tokenizer(WordLevel(ids, unk_token="[UNK]"))
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        "[CLS] $A [SEP]", special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])]
    )
    limit = {} if max_length is None else {"model_max_length": max_length}
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **SPECIAL, **limit
    ).save_pretrained(folder)
    return folder
