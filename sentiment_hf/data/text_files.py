"""Text files as they lie on the disk: opened by their own path, whole, and in UTF-8."""

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from sentiment_hf.errors import SentimentError

BYTES_AT_ONCE = 2**16
CONVERT = "convert it, as with `iconv -f {} -t UTF-8`"

# How files begin that are called like text and are something else.
MAGIC = {
    b"\x1f\x8b": "compressed by gzip: give its name the ending .gz",
    b"BZh91AY&SY": "compressed by bzip2: give its name the ending .bz2",
    b"\xfd7zXZ\0": "compressed by xz: give its name the ending .xz",
    b"\x28\xb5\x2f\xfd": "compressed by zstandard: give its name the ending .zst",
    b"PK\x03\x04": "a zip archive or a spreadsheet (xlsx): unpack it, or save the sheet as csv",
    b"\xd0\xcf\x11\xe0": "a spreadsheet (xls): save the sheet as csv",
    b"PAR1\x15": "a parquet file: give its name the ending .parquet",
}


def file_version(path: Path) -> tuple[int, ...]:
    """What tells whether the same file is still there: another in its place has another."""
    stat = path.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def open_file(path: Path, mode: str = "rb", **options: Any) -> Any:
    """Opens a file, unpacked; `fsspec.open` would split its path at `::`."""
    return LocalFileSystem().open(str(path), mode, compression="infer", **options)


def check_text(path: Path) -> str:
    """The beginning of a file that is whole and in UTF-8; `datasets` reads of others what it can.

    Raises:
        SentimentError: it is in another encoding.
        EOFError: it is compressed and was cut off.
    """
    pieces = _decoded(path)
    start = next(pieces, "")
    for _ in pieces:
        pass
    return start


def text_of(path: Path) -> str:
    """The text of a file in UTF-8, without a byte-order mark."""
    text = "".join(_decoded(path)).removeprefix("\ufeff")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _decoded(path: Path) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    line, start = 1, True
    try:
        for piece in _unpacked(path):
            kind = next((MAGIC[m] for m in MAGIC if piece.startswith(m)), "") if start else ""
            if kind:
                raise SentimentError(f"The file {path} is no text but {kind}.")
            # Without a mark, the zeros of its first letters tell UTF-16, which may be valid UTF-8.
            if start and (b"\0" in piece[:4] or piece[:2] in (b"\xff\xfe", b"\xfe\xff")):
                encoding = "UTF-32" if b"\0\0" in piece[:4] else "UTF-16"
                raise SentimentError(
                    f"The file {path} is in {encoding}, not in UTF-8; {CONVERT.format(encoding)}."
                )
            yield decoder.decode(piece)
            line, start = line + piece.count(b"\n"), False
        yield decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        line += error.object[: error.start].count(b"\n")
        raise SentimentError(
            f"The file {path} is not in UTF-8 (line {line}); {CONVERT.format('LATIN1')} if that is"
            " its encoding."
        ) from error


def _unpacked(path: Path) -> Iterator[bytes]:
    if path.suffix.lower() == ".zst":
        yield from _unpacked_zst(path)
        return
    with open_file(path) as file:
        while piece := file.read(BYTES_AT_ONCE):
            yield piece


def _unpacked_zst(path: Path) -> Iterator[bytes]:
    """Frame by frame: readers of streams take a file that was cut off for a shorter one."""
    import zstandard

    frame, rest = None, b""
    with open(path, "rb") as file:
        while piece := rest or file.read(BYTES_AT_ONCE):
            frame = frame or zstandard.ZstdDecompressor().decompressobj()
            if unpacked := frame.decompress(piece):
                yield unpacked
            rest = frame.unused_data if frame.eof else b""
            frame = None if frame.eof else frame
    if frame is not None:
        raise EOFError
