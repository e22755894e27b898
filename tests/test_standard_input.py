"""Standard input: its encoding, and an answer to each line when it comes."""

import json
import subprocess
import sys

import pytest

LINES = ["a good film", "caf\u00e9, bad", "warm"]


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-16-be-bom"]
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
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
