"""Standard input: its encoding, and its lines when they come."""

import codecs
import sys
from collections.abc import Iterator
from typing import Any

from sentiment_hf.errors import SentimentError

BYTES_AT_ONCE = 2**20


def waiting_lines() -> Iterator[list[str]]:
    """The lines of stdin, as many at once as are there already: each is answered when it comes."""
    if sys.stdin is None or sys.stdin.isatty():
        raise SentimentError("There is no text: name one, or pipe lines into the command.")
    pipe: Any = sys.stdin.buffer
    decoder, rest = None, ""
    start = b""
    while piece := pipe.read1(BYTES_AT_ONCE):
        if decoder is None:
            start += piece
            if len(start) < 4 and b"\n" not in start:
                continue  # The first bytes tell the encoding.
            piece, decoder = start, codecs.getincrementaldecoder(_encoding(start))("replace")
        *lines, rest = (rest + decoder.decode(piece)).split("\n")
        if lines:
            yield [line.rstrip("\r") for line in lines]
    if decoder is None:
        rest = start.decode(_encoding(start), "replace")
    if rest:
        yield [rest.rstrip("\r")]


def _encoding(start: bytes) -> str:
    """What the first bytes tell: a byte-order mark, or the zeros of UTF-16."""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if start[:1] == b"\0" or start[1:2] == b"\0":
        return "utf-16-be" if start[:1] == b"\0" else "utf-16-le"
    return "utf-8-sig"
