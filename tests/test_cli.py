"""The command: lines in, lines out."""

import json
import os
import shlex
import subprocess
import sys

import command_folder
import pytest
from command_folder import EVALUATE, PREDICT, TRAIN

from sentiment_hf import SentimentPipeline, __version__

here = command_folder.here


def process_of(*command, **streams):
    whole = [sys.executable, "-m", "sentiment_hf.cli", *command]
    return subprocess.Popen(whole, stderr=subprocess.PIPE, text=True, **streams)


def test_answers_that_cannot_be_written_are_one_sentence(here):
    with open("/dev/full", "w") as full, process_of(*PREDICT, "a", stdout=full) as process:
        errors = process.stderr.read()
    assert process.returncode == 1
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    assert "Error:" not in errors


def test_a_reader_who_has_seen_enough_ends_the_command_silently(here):
    (here / "lines.txt").write_text("a good film\n" * 20_000)
    with (
        open(here / "lines.txt") as lines,
        process_of(*PREDICT, stdin=lines, stdout=subprocess.PIPE) as process,
    ):
        assert process.stdout.readline().endswith("\ta good film\n")
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


@pytest.fixture
def pipe(here):
    """As the command opens it."""
    return SentimentPipeline.from_pretrained(here / "checkpoint", backend="auto")


def answer_of(pipe, text):
    (best,) = pipe(text)
    return f"{best['label']}\t{best['score']:.4f}\t{' '.join(text.split())}"


ODD_TEXTS = ["good film", "", "a\ttab", "two\nlines\r\nor\u2028three", "ünï 🎬 [PAD]", "a" * 5000]


def test_each_text_has_a_line_whatever_is_in_it(run, pipe):
    result = run(*PREDICT, "--", *ODD_TEXTS, "-5 stars", "--model")
    assert result.exit_code == 0
    assert result.stderr == ""
    expected = [answer_of(pipe, text) for text in [*ODD_TEXTS, "-5 stars", "--model"]]
    assert result.stdout.split("\n") == [*expected, ""]


def test_lines_of_stdin_are_texts_whatever_their_ends_and_characters(run, pipe):
    stdin = b"good film\r\n\n\xef\xbf\xbd bad\n  \nno end"
    texts = ["good film", "", "\ufffd bad", "  ", "no end"]
    result = run(*PREDICT, stdin=stdin)
    assert result.exit_code == 0
    assert result.stdout.split("\n") == [*(answer_of(pipe, text) for text in texts), ""]
    objects = run(*PREDICT, "--json", stdin=stdin).stdout.splitlines()
    assert [json.loads(line)["text"] for line in objects] == texts
    assert run(*PREDICT, stdin=b"").output == ""


@pytest.mark.parametrize("names", [["my reviews.csv"], ["lines.txt", "my reviews.csv"]])
def test_a_file_where_a_text_is_meant_is_refused_with_how_to_read_it(run, here, names):
    for name in names:
        (here / name).write_text("text,label\na film,pos\n")
    quoted = shlex.quote(names[0])
    for command, advice in (
        (PREDICT, f"annotate {quoted} --output FOLDER`, or its lines with `sentiment-hf predict <"),
        (["inspect", *PREDICT[1:]], f"sentiment-hf inspect --dataset {quoted}`"),
    ):
        result = run(*command, *names)
        assert result.exit_code == 2
        assert result.stdout == ""
        assert f"error: {names[0]!r} is a file, not a text; " in result.stderr
        assert advice in result.stderr
    assert run(*PREDICT, *names, "a film").exit_code == 0


def test_a_dash_stands_for_standard_input(run, pipe):
    assert run(*PREDICT, "-", stdin="good film\n").stdout == answer_of(pipe, "good film") + "\n"
    assert run(*PREDICT, "-", "-", stdin="bad").stdout == (answer_of(pipe, "-") + "\n") * 2


def test_bytes_that_are_no_text_are_read_as_unknown_in_an_argument_too(run, pipe):
    result = run(*PREDICT, os.fsdecode(b"\xff bad"))
    assert result.exit_code == 0, result.stderr
    assert result.stdout == answer_of(pipe, "\ufffd bad") + "\n"


def test_five_thousand_lines_are_answered_in_order(run, pipe):
    texts = [f"a {'good' if i % 3 else 'bad'} film {i}" for i in range(5000)]
    result = run(*PREDICT, stdin="\n".join(texts))
    lines = result.stdout.splitlines()
    assert [line.split("\t")[2] for line in lines] == texts
    for number in (0, 1, 4095, 4096, 4999):
        assert lines[number] == answer_of(pipe, texts[number])


@pytest.mark.slow
def test_a_text_of_ten_megabytes_is_answered(run, pipe):
    result = run(*PREDICT, "--json", stdin="a good film " * 850_000)
    assert result.exit_code == 0
    assert json.loads(result.stdout)["label"] in ("neg", "pos")


def test_top_k_shows_that_many_labels_best_first(run, pipe):
    result = run(*PREDICT, "--top-k", 2, "good", "bad")
    fields = [line.split("\t") for line in result.stdout.splitlines()]
    assert [text for *_, text in fields] == ["good", "good", "bad", "bad"]
    for (label, score, _), (other, rest, _) in (fields[:2], fields[2:]):
        assert {label, other} == {"neg", "pos"}
        assert float(score) >= float(rest)
        assert float(score) + float(rest) == pytest.approx(1, abs=2e-4)
    assert run(*PREDICT, "--top-k", 9, "good").stdout.count("\n") == 2


def test_json_is_an_object_a_row_with_the_text_as_it_came(run, pipe):
    result = run(*PREDICT, "--json", *ODD_TEXTS)
    found = [json.loads(line) for line in result.stdout[:-1].split("\n")]
    assert found == [{"text": text, **pipe(text)[0]} for text in ODD_TEXTS]
    assert all(list(row) == ["text", "label", "score"] for row in found)
    assert "ünï 🎬" in result.stdout


def test_a_checkpoint_is_used_from_within_its_own_folder(run, pipe, here, monkeypatch):
    monkeypatch.chdir(here / "checkpoint")
    result = run("predict", "--model", ".", "good film")
    assert result.stdout == answer_of(pipe, "good film") + "\n", result.stderr


def test_version_and_help(run):
    assert run("--version").stdout.split()[-1] == __version__
    for command in ([], ["train"], ["evaluate"], ["predict"]):
        result = run(*command, "-h")
        assert result.exit_code == 0
        assert result.stdout.startswith("Usage: ")
        assert result.stderr == ""
    assert "--resume" in run("train", "--help").stdout


@pytest.mark.parametrize(
    "command",
    [
        TRAIN,
        pytest.param(EVALUATE, marks=pytest.mark.slow),
        pytest.param([*PREDICT, "a"], marks=pytest.mark.slow),
    ],
    ids=lambda command: command[0],
)
def test_quiet_commands_print_nothing_on_stderr(here, run_process, command):
    result = run_process(*command, "--quiet", env=os.environ | {"HF_HOME": str(here / "hf")})
    assert result.returncode == 0
    assert result.stderr == ""
    assert result.stdout
