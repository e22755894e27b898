"""Standard input: its encoding, and its lines when they come."""

import codecs
import io
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
    if pipe.seekable():  # A file is looked through before its first line is answered.
        start = pipe.tell()
        for _ in _lines(pipe):
            pass
        pipe.seek(start)
    yield from _lines(pipe)


def _lines(pipe: Any) -> Iterator[list[str]]:
    decoder, start, count = None, b"", 0
    # What has come of a line that has no end yet.
    parts: list[str] = []
    while piece := pipe.read1(BYTES_AT_ONCE):
        if decoder is None:
            start += piece
            if len(start) < 4 and b"\n" not in start:
                continue  # The first bytes tell the encoding.
            piece, decoder = start, _decoder(start)
        first, *others = _decoded(decoder, piece, count).split("\n")
        parts.append(first)
        if others:
            *lines, rest = ["".join(parts), *others]
            parts, count = [rest], count + len(lines)
            yield lines
    if decoder is None:
        piece, decoder = start, _decoder(start)
    *lines, rest = ("".join(parts) + _decoded(decoder, piece, count, final=True)).split("\n")
    if lines := [*lines, *([rest] if rest else [])]:
        yield lines


def _decoder(start: bytes) -> io.IncrementalNewlineDecoder:
    """Decodes, and makes one of all ends of lines."""
    decoder = codecs.getincrementaldecoder(_encoding(start))()
    return io.IncrementalNewlineDecoder(decoder, translate=True)


def _decoded(
    decoder: io.IncrementalNewlineDecoder, piece: bytes, lines: int, **options: bool
) -> str:
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
        big = start[:1] == b"\0"
        if start[:2] == b"\0\0" or start[2:4] == b"\0\0":
            return "utf-32-be" if big else "utf-32-le"
        # In text with a zero of its own, the first end of a line is one byte, not two.
        end = start.find(b"\n")
        if end < 0 or (end % 2 == big and start[end ^ 1 : (end ^ 1) + 1] in (b"\0", b"")):
            return "utf-16-be" if big else "utf-16-le"
    return "utf-8-sig"
