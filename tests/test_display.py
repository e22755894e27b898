"""What is shown: nothing in a text, a label, a name or a message is obeyed by who shows it."""

import json
import os
import subprocess
import sys

import pytest

from sentiment_hf import SentimentError, evaluate
from sentiment_hf.checkpoint.figures import draw_confusion_matrix, draw_trajectory
from sentiment_hf.data.loading_errors import dataset_errors
from sentiment_hf.errors import UNPRINTABLE, hub_errors, message_and_status, printable
from sentiment_hf.reading.explanation import Explanation
from sentiment_hf.reading.terminal import render_explanation, render_trajectory
from sentiment_hf.reading.trajectory import Point

CLIPBOARD = "\x1b]52;c;cHduZWQ=\x07"
NASTY = [CLIPBOARD, "\x1b[2J", "\x9b31m", "a\x08\x08b", "\u202eevil", "\u2028", "\ud800", "\x7f"]


@pytest.mark.parametrize("text", NASTY)
def test_what_would_be_obeyed_becomes_visible(text):
    shown = printable(f"a {text} b")
    assert not UNPRINTABLE.search(shown)
    assert shown.startswith("a ")
    assert "\\" in shown


@pytest.mark.parametrize("text", ["čaj 🍵", "👨‍👩‍👧", "می‌خواهم", "$5 <b> & `x` \\x1b", "漢字　"])
def test_what_people_write_is_shown_as_it_is(text):
    assert printable(text) == text


@pytest.mark.parametrize("text", NASTY[:5])
def test_predict_shows_one_row_a_text_and_sends_nothing(checkpoint, run, text):
    result = run("predict", f"good\tpos\t0.99\n{text}", "a film", "--model", checkpoint)
    assert [len(row.split("\t")) for row in result.stdout.splitlines()] == [3, 3]
    assert not UNPRINTABLE.search(result.stdout.replace("\n", "").replace("\t", ""))
    result = run("predict", text, "--json", "--model", checkpoint)
    assert not UNPRINTABLE.search(result.stdout[:-1])
    assert json.loads(result.stdout)["text"] == text


@pytest.mark.parametrize("name", [f"x{CLIPBOARD}", "a\nb", "\u202ex"])
def test_names_in_messages_are_shown_and_not_sent(run, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for arguments in (
        ["predict", "a", "--model", f"{name}/y"],
        ["evaluate", f"{name}.csv"],
        ["evaluate", "sample", "--label-column", name],
        ["train", "sample", "--output", "out", f"--{name}"],
    ):
        result = run(*arguments)
        assert result.exit_code != 0
        assert not UNPRINTABLE.search(result.stderr.replace("\n", "").replace("\r", ""))
        assert result.stderr.splitlines()[-1].startswith("error: ")


def test_errors_of_other_libraries_are_one_visible_line():
    for error in (ValueError(CLIPBOARD), OSError(5, "bad\x1b[2J", f"/x/{CLIPBOARD}")):
        assert not UNPRINTABLE.search(message_and_status(error)[0])


def test_what_is_read_between_the_layers_colours_words_but_sends_none():
    words = [f"good{CLIPBOARD}", "a\nb"]
    shown = render_trajectory([Point(word, 0.5) for word in words], ("n\x1b[2J", "p"), colour=False)
    shown += render_explanation(Explanation("p\x07", 0.5, words, [0.1, 0.2], [0.1, 0.2], 0.0))
    assert not UNPRINTABLE.search(shown.replace("\n", ""))


@pytest.mark.parametrize(
    "text",
    [
        "http://ann:secret@hub/x refused",
        "at https://secret@hub: no",
        "http://ann:secret@secret@hub/x refused",
        "http://secret@x.org:secret@hub/x refused",
        "http://ann:secret/secret@hub/x refused",
        "http://ann:1/secret:@secret@hub/x refused",
        "http://ann:%secret%40#secret?@hub/x refused",
    ],
)
def test_user_and_password_of_an_address_are_never_printed(text):
    for error in (SentimentError(text), ValueError(text)):
        message, _ = message_and_status(error)
        assert "secret" not in message
        assert "hub" in message


def test_a_long_message_is_not_cut_in_the_middle_of_a_password():
    for text in (f"{'x' * 140} http://ann:secret{'s' * 99}@hub/x", "at http://ann:secret?x@hub"):
        with pytest.raises(SentimentError) as raised, hub_errors("a model", without_hub="no"):
            raise ConnectionError(text)
        assert "secret" not in str(raised.value)
    text = f"{'x' * 180} http://ann:secret{'s' * 99}@hub/x"
    with pytest.raises(SentimentError) as raised, dataset_errors("reviews"):
        raise ValueError(text)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("password", ["secret/x", "secret#", "x?secret", "secret[", "secret:/@%"])
def test_no_part_of_a_password_is_printed_where_the_client_takes_it_for_a_port(
    run_process, password
):
    environment = os.environ | {"HF_ENDPOINT": f"http://ann:{password}@127.0.0.1:9"}
    result = run_process("predict", "good", "--model", "ann/model", env=environment)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert result.stderr.startswith("error: HF_ENDPOINT")
    assert "secret" not in result.stderr
    assert " x" not in result.stderr


def test_the_folder_of_an_export_cannot_write_into_the_terminal(run, monkeypatch):
    monkeypatch.setattr("sentiment_hf.export.onnx_folder.export_onnx", lambda *_, **__: None)
    result = run("export", "reference", "--format", "onnx", "--output", CLIPBOARD)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"{printable(CLIPBOARD)}\n"


@pytest.mark.parametrize("label", ["$x", "$\\frac$", "a$b$c"])
def test_a_dollar_in_a_label_is_a_dollar(tmp_path, label):
    draw_trajectory(tmp_path / "t.png", [0.1, 0.9], label)
    draw_confusion_matrix(tmp_path, [[1, 2], [3, 4]], ["$", label])
    assert (tmp_path / "t.png").stat().st_size > 1000


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "utf-8"])
def test_an_output_that_lacks_a_character_does_not_end_the_command(checkpoint, encoding):
    command = [sys.executable, "-m", "sentiment_hf.cli", "predict", "čaj 🍵 é"]
    command += ["--model", str(checkpoint)]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    for flags in ([], ["--json"]):
        done = subprocess.run(
            [*command, *flags], env=environment, capture_output=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stderr
        shown = done.stdout.decode(encoding)
        if flags:
            assert json.loads(shown)["text"] == "čaj 🍵 é"
    assert ("🍵" in shown) == (encoding == "utf-8")


def test_a_rank_left_over_from_something_else_silences_nothing(checkpoint, run, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    result = run("train", "sample", "--output", checkpoint / "x", "--epochs", 1)
    assert result.exit_code == 0, result.stderr
    assert "Training in" in result.stderr
    assert "validation accuracy" in result.stdout


def test_a_column_and_a_label_of_markdown_stay_text_in_the_card(make_pipeline, tmp_path):
    label = "a`b | <script>"
    make_pipeline(id2label={0: "neg", 1: label}).save_pretrained(tmp_path / "m")
    rows = "".join(f"a good film,{name}\n" for name in ("neg", label) for _ in range(3))
    path = tmp_path / "<img src=x> | a.csv"
    path.write_text("text,label\n" + rows)
    evaluate(path, tmp_path / "m", split="train", save=True)
    text = (tmp_path / "m/README.md").read_text()
    assert f" and `` {label} `` apart" in text
    assert "<img" not in text.split("---", 2)[2]
    assert "&lt;img src=x&gt; \\| a.csv" in text


def test_a_package_that_is_missing_is_one_sentence():
    error = ModuleNotFoundError("No module named 'sklearn'", name="sklearn")
    message, status = message_and_status(error)
    assert (status, "pip install scikit-learn" in message) == (2, True)
