"""Standard input: its encoding, and its lines when they come."""

import codecs
import sys
from collections.abc import Iterator
from typing import Any

from sentiment_hf.errors import SentimentError

BYTES_AT_ONCE = 2**20


def waiting_lines() -> Iterator[list[str]]:
    """The lines of stdin, as many at once as are there already: each is answered when it comes.

    Raises:
        SentimentError: it is a terminal, or bytes in it are no text.
    """
    if sys.stdin is None or sys.stdin.isatty():
        raise SentimentError("There is no text: name one, or pipe lines into the command.")
    pipe: Any = sys.stdin.buffer
    if pipe.seekable():  # A file is looked through before its first line is answered.
        start = pipe.tell()
        for _ in _lines(pipe):
            pass
        pipe.seek(start)
    yield from _lines(pipe)


def _lines(pipe: Any) -> Iterator[list[str]]:
    decoder, rest, start, count = None, "", b"", 0
    while piece := pipe.read1(BYTES_AT_ONCE):
        if decoder is None:
            start += piece
            if len(start) < 4 and b"\n" not in start:
                continue  # The first bytes tell the encoding.
            piece, decoder = start, codecs.getincrementaldecoder(_encoding(start))()
        *lines, rest = (rest + _decoded(decoder, piece, count)).split("\n")
        count += len(lines)
        if lines:
            yield [line.rstrip("\r") for line in lines]
    if decoder is None:
        piece, decoder = start, codecs.getincrementaldecoder(_encoding(start))()
    if rest := rest + _decoded(decoder, piece, count, final=True):
        yield [rest.rstrip("\r")]


def _decoded(decoder: codecs.IncrementalDecoder, piece: bytes, lines: int, **options: bool) -> str:
    try:
        return decoder.decode(piece, **options)
    except UnicodeDecodeError as error:
        line = lines + error.object[: error.start].count(b"\n") + 1
        raise SentimentError(
            f"Line {line} of standard input is not in {error.encoding.upper()}; convert it, as with"
            " `iconv -f LATIN1 -t UTF-8` if that is its encoding."
        ) from error


def _encoding(start: bytes) -> str:
    """What the first bytes tell: a byte-order mark, or the zeros of UTF-16 and UTF-32."""
    if start.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if start[:1] == b"\0" or start[1:2] == b"\0":
        width = "32" if start[:2] == b"\0\0" or start[2:4] == b"\0\0" else "16"
        return f"utf-{width}-be" if start[:1] == b"\0" else f"utf-{width}-le"
    return "utf-8-sig"
