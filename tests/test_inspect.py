"""The command `inspect`: what is read between the layers in a terminal, as JSON and a page."""

import contextlib
import json
import os
import pty
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import reading_networks
from reading_networks import TEXTS

from sentiment_hf.cli import main

make = reading_networks.make
pipe = reading_networks.pipe

KEYS = ["name", "what", "input_shape", "output_shape", "axes", "dtype", "parameters", "values"]


class Page(HTMLParser):
    """Tags with their attributes, the shaded words, and all text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags, self.words, self.text, self.open = [], [], "", False
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.open = tag == "span" and "title" in dict(attrs)
        self.words += [""] * self.open

    def handle_endtag(self, tag):
        self.open = False

    def handle_data(self, data):
        self.text += data
        if self.open:
            self.words[-1] += data

    def fetches_and_runs_nothing(self) -> bool:
        names = {name for tag, attrs in self.tags for name in (tag, *attrs)}
        forbidden = {"script", "img", "link", "iframe", "object", "embed", "base", "form"}
        forbidden |= {"src", "srcset", "href", "xlink:href", "action", "data"}
        run = [name for name in names if name.startswith("on")]
        return not (names & forbidden or run or re.search(r"url\(|@import", self.source))


HTML = """<script>alert("1")</script> & <img src='http://x.org/a.png' onerror=alert(1)> </p>"""
ODD_TEXTS = {
    "empty": "",
    "5,000 words": "good bad not film zebra " * 1000,
    "emoji": "😀 good 👩‍👩‍👧 film ❤️🇫🇷",
    "right-to-left": "فيلم جيد جدا, good film",
    "HTML": HTML,
    "long HTML": f"{HTML} " * 50,
    "only unknown words": "zebra giraffe",
    "a sign that is read as three": "2½ stars, ½ good",
}


@pytest.mark.parametrize("text", ODD_TEXTS.values(), ids=list(ODD_TEXTS))
def test_every_text_is_shown_sensibly_everywhere(make_pipeline, run, tmp_path, text):
    make_pipeline(max_length=60).save_pretrained(tmp_path / "model")
    asked = ["inspect", "--model", tmp_path / "model", "--trajectory", "--explain"]
    result = run(*asked, "--html", tmp_path / "page.html", "--json", "--", text)
    assert (result.exit_code, result.stderr) == (0, "")
    steps, (reading,) = json.loads(result.stdout).values()
    assert list(reading) == ["text", "label", "score", "trajectory", "explanation"]
    assert reading["text"] == text
    words = [point["word"] for point in reading["trajectory"]]
    assert "".join("".join(words).split()) == "".join(text.split())

    page, verdict = Page(tmp_path / "page.html"), f"{reading['label']} {reading['score']:.2f}"
    assert page.fetches_and_runs_nothing()
    assert page.words == words + reading["explanation"]["words"]
    assert verdict in page.text
    assert " ".join(text.split()) in " ".join(page.text.split())
    for step in steps:
        assert step["name"] in page.text
        assert json.dumps(step["values"]) in page.text
    points = next(attrs["points"] for tag, attrs in page.tags if tag == "polyline").split()
    heights = [100 - float(point.split(",")[1]) for point in points]
    expected = [100 * point["probability"] for point in reading["trajectory"]]
    assert heights == pytest.approx(expected if len(expected) > 1 else expected * 2, abs=0.01)

    shown = run(*asked, "--", text)
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert " ".join(" ".join(words).split()) in " ".join(shown.stdout.split())
    assert verdict in shown.stdout


def test_a_lone_surrogate_is_read_as_the_replacement_character(checkpoint, run):
    asked = ["inspect", "--model", checkpoint, "--trajectory", "--explain", "--json"]
    result = run(*asked, "good \udcff film")
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout) == json.loads(run(*asked, "good \ufffd film").stdout)


def test_json_and_terminal_are_renderings_of_the_steps(make_pipeline, checkpoint, run):
    pipe = make_pipeline()
    steps = [step.to_dict() for step in pipe.trace(TEXTS)]
    seen = json.loads(run("inspect", *TEXTS, "--model", checkpoint, "--json").stdout)
    assert seen["steps"] == json.loads(json.dumps(steps))
    assert all(list(step) == KEYS for step in seen["steps"])
    assert seen["texts"] == [{"text": t, **a} for t, a in zip(TEXTS, pipe(TEXTS))]
    shown = run("inspect", *TEXTS, "--model", checkpoint).stdout
    places = [shown.index(f"{number}. {step['name']}\n") for number, step in enumerate(steps)]
    assert places == sorted(places)
    assert "(3, 8) -> (3, 8, 5) = batch 3 x sequence 8 x embedding 5, float32" in shown


def test_a_page_shows_each_text_with_its_own_label_and_escapes_the_labels(make, run, tmp_path):
    pipe = make(id2label={0: "<b>bad</b>", 1: 'po"or', 2: "good", 3: "great"})
    pipe.save_pretrained(tmp_path / "model")
    run("inspect", *TEXTS, "--model", tmp_path / "model", "--html", tmp_path / "page.html")
    page, labels = Page(tmp_path / "page.html"), [one["label"] for one in pipe(TEXTS)]
    assert len(set(labels)) > 1
    assert re.findall("The probability of (.*) after each word", page.text) == labels
    assert " ".join(page.words) == " ".join(TEXTS)
    assert page.fetches_and_runs_nothing()
    assert "http" not in page.source
    assert "b" not in {tag for tag, _ in page.tags}


def test_page_and_figure_may_stand_in_a_new_folder(checkpoint, run, tmp_path):
    files = tmp_path / "new" / "page.html", tmp_path / "new" / "figure.png"
    asked = ["inspect", "good film", "--model", checkpoint]
    result = run(*asked, "--png", files[1], "--html", files[0])
    assert (result.exit_code, result.stderr) == (0, "")
    assert files[1].read_bytes().startswith(b"\x89PNG\r\n")
    assert Page(files[0]).words == ["good", "film"]


def test_links_and_pipes_stay_what_they_are_and_get_the_content(checkpoint, run, tmp_path):
    asked = ["inspect", "good film", "--model", checkpoint]
    link, target, pipe = tmp_path / "link.html", tmp_path / "page.html", tmp_path / "pipe"
    target.write_text("old")
    link.symlink_to(target)
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    result = run(*asked, "--html", link)
    assert (result.exit_code, result.stderr) == (0, "")
    result = run(*asked, "--html", pipe)
    assert (result.exit_code, result.stderr) == (0, "")
    assert os.read(reader, 15).lower() == b"<!doctype html>"
    os.close(reader)
    assert pipe.is_fifo()
    assert link.is_symlink()
    assert Page(target).words == ["good", "film"]


@pytest.mark.parametrize("no_colour", [False, True], ids=["colour", "NO_COLOR"])
def test_a_terminal_is_coloured_and_a_pipe_or_no_color_is_not(
    checkpoint, run, monkeypatch, no_colour
):
    arguments = ["inspect", "good film", "--trajectory", "--model", str(checkpoint)]
    leader, follower = pty.openpty()
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_colour:
        monkeypatch.setenv("NO_COLOR", "1")
    with os.fdopen(follower, "w", encoding="utf-8") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        with pytest.raises(SystemExit):
            main(arguments)
    shown = b""
    with contextlib.suppress(OSError):  # What Linux says at the end.
        while part := os.read(leader, 4096):
            shown += part
    os.close(leader)
    coloured = re.search(rb"\x1b\[[\d;]+mgood \x1b\[[\d;]+mfilm", shown)
    assert b"film" in shown
    assert (coloured is None, b"\x1b" in shown) == (no_colour, not no_colour)
    assert "\x1b" not in run(*arguments).stdout


def test_a_data_set_is_a_batch_whose_labels_are_the_checkpoints(make, run, tmp_path):
    make(id2label={0: "pos", 1: "neg"}).save_pretrained(tmp_path / "model")
    rows = [f"good row{i},pos\nbad row{i},neg\n" for i in range(30)]
    (tmp_path / "own.csv").write_text("text,label\n" + "".join(rows))
    own = ["inspect", "--model", tmp_path / "model", "--dataset", tmp_path / "own.csv", "--json"]
    for count, options in ((50, []), (4, ["--max-samples", 4])):
        seen = json.loads(run(*own, *options).stdout)
        words, x, y = seen["steps"][:3]
        assert (y["name"], x["output_shape"][0], y["output_shape"]) == ("y", count, [count])
        assert y["values"][:3] == [row[0] != "good" for row in words["values"]]
        assert len(seen["texts"]) == 1


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("good --preset article", "--untrained"),
        ("good --untrained", "--preset"),
        ("good --untrained --preset article --model here", "--model"),
        ("good --untrained --preset nonsense", "nonsense.*article.*fast"),
        ("good --model nowhere", "nowhere"),
        ("--model here --dataset nowhere.csv", "nowhere.csv"),
        ("--model here --dataset unlabelled.csv", "--label-column"),
    ],
)
def test_wrong_usage_is_one_sentence(checkpoint, run, monkeypatch, arguments, named):
    monkeypatch.chdir(checkpoint.parent)
    checkpoint.rename("here")
    Path("unlabelled.csv").write_text("text\ngood film\nbad film\n")
    result = run("inspect", *arguments.split())
    assert (result.exit_code, result.stdout) == (2, "")
    assert re.fullmatch(f"error: .*{named}.*", result.stderr.splitlines()[-1])
    assert "Traceback" not in result.stderr
