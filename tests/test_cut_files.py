"""A compressed file that was cut off is never read as fewer rows."""

import bz2
import gzip
import json
import lzma

import pytest
import zstandard
from written_files import rows_of

from sentiment_hf import SentimentError, load_reviews

ROWS = [(f"film number {number}", ("neg", "pos")[number % 2]) for number in range(500)]
CONTENT = {
    "csv": "text,label\n" + "".join(f"{text},{label}\n" for text, label in ROWS),
    "jsonl": "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in ROWS),
}
PACK = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstandard.compress,
}


@pytest.mark.parametrize("packed", PACK)
@pytest.mark.parametrize("kind", CONTENT)
def test_a_file_that_was_cut_off_is_never_read_as_fewer_rows(write, kind, packed):
    content = PACK[packed](CONTENT[kind].encode())
    path = write(f"own/train.{kind}.{packed}")
    for size in (1, 10, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        for source in (path, path.parent):
            with pytest.raises(SentimentError, match="a compressed file is empty, cut off"):
                load_reviews(source)
    path.write_bytes(content)
    assert rows_of(load_reviews(path)) == ROWS


@pytest.mark.parametrize("kind", CONTENT)
def test_a_zst_file_that_ends_between_two_rows_is_cut_off_too(write, kind):
    packer = zstandard.ZstdCompressor().compressobj()
    content = packer.compress(CONTENT[kind].encode())
    content += packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    path = write(f"own.{kind}.zst")
    path.write_bytes(content)
    with pytest.raises(SentimentError, match="cut off"):
        load_reviews(path)


def test_a_zst_file_of_several_frames_is_read_to_its_end(write):
    path = write("own.csv.zst")
    lines = CONTENT["csv"].splitlines(keepends=True)
    halves = "".join(lines[:200]), "".join(lines[200:])
    path.write_bytes(b"".join(zstandard.compress(half.encode()) for half in halves))
    assert rows_of(load_reviews(path)) == ROWS
