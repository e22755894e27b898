"""Words: the word-level tokenizer, trained and used through `tokenizers`."""

import logging
import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache, partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import NFKC, Lowercase, Replace
from tokenizers.normalizers import Sequence as NormalizerSequence
from tokenizers.pre_tokenizers import Split
from tokenizers.trainers import WordLevelTrainer

from sentiment_hf.arguments import check_whole, refuse_no_texts
from sentiment_hf.errors import SentimentError, first_line

if TYPE_CHECKING:
    from datasets import Dataset

PAD_TOKEN = "[PAD]"
UNK_TOKEN = "[UNK]"
PAD_ID = 0
UNK_ID = 1
DEFAULT_VOCAB_SIZE = 30_000
IDS_COLUMN = "input_ids"
# Of a split that says it is tokenized.
CHECKED_ROWS = 16
SMALLEST_VOCAB_SIZE = 3  # [PAD], [UNK] and a word.
# While it encodes, `tokenizers` holds up to 250 bytes a character, and as much for an empty text as
# for 200 of them.
LONGEST_TEXT = 400_000
CHARACTERS_AT_ONCE = 4_000_000
CHARACTERS_OF_ANY_TEXT = 200

logger = logging.getLogger(__name__)

if hasattr(os, "register_at_fork"):
    # The threads of `tokenizers` do not survive a fork; where a user has set this variable, it
    # would wait for them.
    _encode_alone = partial(os.environ.__setitem__, "TOKENIZERS_PARALLELISM", "false")
    os.register_at_fork(after_in_child=_encode_alone)

# Brackets are always words of their own, so no text can spell [PAD] or [UNK].
WORD = Regex(
    "|".join(
        [
            r"(?>\d+(?:[.,]\d+){0,9})/\d+",  # a rating: 10/10, 7.5/10
            r"(?>\d+)(?:[.,](?>\d+)){0,9}(?:st|nd|rd|th|s)?(?![\p{L}\p{N}])",  # 1,000, 2nd, 80s
            r"\p{L}{1,50}?(?=n't(?!\p{L}))",  # do|n't
            r"n't(?!\p{L})",
            r"'(?:s|m|d|re|ve|ll)(?!\p{L})",  # it|'s
            r"[\p{L}\p{M}\p{N}_]+",
            r"\.{2,}|!+(?!\?)|\?+(?!!)|[!?]+",
            r"[^\s\p{L}\p{M}\p{N}_]",
        ]
    )
)


def train_tokenizer(texts: Iterable[str], vocab_size: int = DEFAULT_VOCAB_SIZE) -> Tokenizer:
    """Trains a word-level tokenizer: the same texts always give the same file.

    Line breaks in HTML become breaks, Unicode is normalised, words are lower-cased, punctuation
    is kept as words. Words seen once are left to `[UNK]`, so that its vector is trained too.

    Args:
        vocab_size: at most that many words, `[PAD]` (0) and `[UNK]` (1) counted.

    Raises:
        SentimentError: room for no word, or one text instead of several.
    """
    check_whole("vocab_size", vocab_size, least=SMALLEST_VOCAB_SIZE)
    if isinstance(texts, str):
        raise SentimentError("A tokenizer is trained on a list of texts, not on one text.")
    refuse_no_texts(texts)
    tokenizer = word_tokenizer({PAD_TOKEN: PAD_ID, UNK_TOKEN: UNK_ID})
    trainer = WordLevelTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=[PAD_TOKEN, UNK_TOKEN],
        show_progress=False,
    )
    try:
        readable_texts = (readable(text) if isinstance(text, str) else text for text in texts)
        tokenizer.train_from_iterator(readable_texts, trainer)
    except TypeError as error:
        raise SentimentError(
            "A tokenizer is trained on texts, and one of these is none."
        ) from error
    # The trainer registers the special tokens as text to be matched; a review may spell them.
    return word_tokenizer(tokenizer.get_vocab(with_added_tokens=False))


def word_tokenizer(vocabulary: dict[str, int]) -> Tokenizer:
    """The tokenizer of these words: whatever a checkpoint holds, texts are read like this."""
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=UNK_TOKEN))
    tokenizer.normalizer = NormalizerSequence(
        [
            Replace(Regex(r"<(?:br|BR)\s*+(?:/\s*+)?>"), "\n"),
            Replace(Regex("[\u2018\u2019\u00b4`]"), "'"),
            Replace(Regex("[\u201c\u201d]"), '"'),
            Replace(Regex("[\u2012-\u2015]"), "-"),
            NFKC(),
            Lowercase(),
        ]
    )
    tokenizer.pre_tokenizer = Split(WORD, behavior="removed", invert=True)
    return tokenizer


def readable(text: str) -> str:
    """The text with a replacement character for each lone surrogate, which has no UTF-8."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def shortened(text: str) -> str:
    """The text without its middle, normalised, if it has more than 400,000 characters; says so."""
    size = _normalised_length(text)
    if size <= LONGEST_TEXT:
        return text
    head = LONGEST_TEXT // 4
    logger.warning(
        "A text of %d characters is read without its middle: the first %d and the last %d of them.",
        size, head, LONGEST_TEXT - head,
    )  # fmt: skip
    text = unicodedata.normalize("NFKC", text)
    return f"{text[:head]} {text[head - LONGEST_TEXT :]}"


def slices_of(texts: list[str]) -> Iterator[list[str]]:
    """Consecutive texts, as many as are encoded at once; one empty slice if there is no text."""
    ends = np.cumsum([_normalised_length(text) + CHARACTERS_OF_ANY_TEXT for text in texts])
    cuts = np.flatnonzero(np.diff(ends // CHARACTERS_AT_ONCE)) + 1
    for start, end in pairwise([0, *cuts.tolist(), len(texts)]):
        yield texts[start:end]


def _normalised_length(text: str) -> int:
    # One character may become 18.
    return len(text if text.isascii() else unicodedata.normalize("NFKC", text))


def encode_texts(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Ids of each text's words, whole; an empty text is read as one `[UNK]`.

    Raises:
        SentimentError: the tokenizer, made elsewhere, fails on a text.
    """
    texts = list(texts)
    try:
        encodings = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    except TypeError:
        texts = [readable(text) for text in texts]
        encodings = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # A panic in the library is no Exception.
        raise SentimentError(f"The tokenizer cannot read a text: {first_line(error)}.") from error
    return [encoding.ids or [UNK_ID] for encoding in encodings]


def tokenizer_config() -> dict:
    """The content of `tokenizer_config.json`, with which `AutoTokenizer` gives the same ids.

    `model_max_length` is left out: with it, `truncation=True` would keep the head of a text alone.
    """
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": PAD_TOKEN,
        "unk_token": UNK_TOKEN,
        "split_special_tokens": True,
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
    }


def tokenize_split(split: "Dataset", tokenizer: Tokenizer) -> "Dataset":
    """Gives `input_ids` in place of `text`; a second run reads the cache of `datasets`.

    A split that has `input_ids` already (`scripts/tokenize_dataset.py`) keeps them where they are
    what this tokenizer makes of its texts.
    """
    if IDS_COLUMN in split.column_names:
        if _is_tokenized(split, tokenizer):
            return split.remove_columns("text")
        logger.info("The %s of the data set are another tokenizer's: reading texts.", IDS_COLUMN)
        split = split.remove_columns(IDS_COLUMN)
    return split.map(
        _tokenize_batch,
        batched=True,
        input_columns=["text"],
        remove_columns=["text"],
        fn_kwargs={"tokenizer_json": tokenizer.to_str()},
        desc="Tokenizing",
    )


def _is_tokenized(split: "Dataset", tokenizer: Tokenizer) -> bool:
    """Whether some rows, from the first to the last, have this tokenizer's ids."""
    rows = split.select(range(0, len(split), max(1, len(split) // CHECKED_ROWS)))
    return list(rows[IDS_COLUMN]) == encode_texts(tokenizer, list(rows["text"]))


def _tokenize_batch(texts: list[str], tokenizer_json: str) -> dict[str, list]:
    input_ids = encode_texts(_tokenizer_from(tokenizer_json), texts)
    return {IDS_COLUMN: input_ids}


@lru_cache(maxsize=4)
def _tokenizer_from(tokenizer_json: str) -> Tokenizer:
    return Tokenizer.from_str(tokenizer_json)
