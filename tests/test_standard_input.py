"""Standard input: its encoding, and an answer to each line when it comes."""

import io
import json
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from sentiment_hf.standard_input import waiting_lines

LINES = ["a good film", "caf\u00e9, bad", "warm"]


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-16-be-bom"]
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_standard_input_is_decoded_and_a_byte_order_mark_is_no_word(run, checkpoint, encoding, end):
    content = end.join(LINES)
    if encoding.endswith("-bom"):
        content, encoding = f"\ufeff{content}", encoding.removesuffix("-bom")
    command = ["predict", "--model", checkpoint, "--json"]
    result = run(*command, stdin=content.encode(encoding))
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert [answer["text"] for answer in answers] == LINES
    expected = run(*command, *LINES).stdout
    assert result.stdout == expected


def lines_of(monkeypatch, content, bytes_at_once):
    """What is read of a pipe that gives so many bytes at a time."""
    stream = io.BytesIO(content)
    pipe = SimpleNamespace(read1=lambda _: stream.read(bytes_at_once), seekable=lambda: False)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=pipe, isatty=lambda: False))
    return [line for some in waiting_lines() for line in some]


@pytest.mark.parametrize("bytes_at_once", [1, 2, 3, 5, 1000])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_lines_are_the_same_however_they_arrive(monkeypatch, bytes_at_once, encoding):
    content = "a film\r\n\r\nwarm\rcaf\u00e9\n\ngood\r".encode(encoding)
    lines = lines_of(monkeypatch, content, bytes_at_once)
    assert lines == ["a film", "", "warm", "caf\u00e9", "", "good"]


def test_a_long_line_takes_time_in_proportion_to_its_length(monkeypatch):
    start = time.process_time()
    (line,) = lines_of(monkeypatch, b"a good film " * 4_000_000, 2**12)
    assert len(line) == 48_000_000
    assert time.process_time() - start < 5


@pytest.mark.parametrize("content", [b"a\0b\n", b"a\0bc\nd", b"\0a\nbc\n", b"\0ab\n"])
def test_a_zero_in_a_line_does_not_make_it_utf_16(monkeypatch, content):
    assert lines_of(monkeypatch, content, 1000) == content.decode().splitlines()


@pytest.mark.parametrize("content", ["", "a", "\n", "a\n\nb\n"])
def test_short_input_has_an_answer_a_line(run, checkpoint, content):
    result = run("predict", "--model", checkpoint, "--json", stdin=content)
    texts = [json.loads(line)["text"] for line in result.stdout.splitlines()]
    assert texts == content.split("\n")[: content.count("\n") + (content[-1:] not in ("", "\n"))]


def test_each_line_is_answered_when_it_comes(checkpoint):
    command = [sys.executable, "-m", "sentiment_hf.cli", "predict", "--model", checkpoint]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        for line in LINES:
            process.stdin.write(f"{line}\n")
            assert process.stdout.readline().rstrip("\n").split("\t")[2] == line
        process.stdin.close()
        assert process.stdout.read() == ""
