"""The README and docs/training.md tell the truth: what they show is run, and printed so."""

import csv
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from sentiment_hf import evaluate, load_reviews
from sentiment_hf.checkpoint.folder import EVALUATION_FILE, REFERENCE_FOLDER, WEIGHTS_FILE
from sentiment_hf.cli import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
TRAINING = (ROOT / "docs" / "training.md").read_text()
BLOCK = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
NUMBER = re.compile(r"-?\d+\.\d+")


def blocks(page):
    return BLOCK.findall(page)


def console_commands(block):
    """The commands of a console block, each with what is shown below it."""
    parts = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    return [part.split("\n", 1) for part in parts]


COMMANDS = [
    command
    for page in (README, TRAINING)
    for language, block in blocks(page)
    if language == "console"
    for command, _ in console_commands(block)
]


@pytest.mark.parametrize("command", [c for c in COMMANDS if "sentiment" in c])
def test_every_command_parses(command):
    words = shlex.split(re.sub(r"^torchrun.* -m sentiment_hf.cli", "sentiment-hf", command))
    # A command keeps its option `--help` as the first context names it.
    name, context = words[1], click.Context(main, **main.context_settings)
    subcommand = main.get_command(context, name)
    assert subcommand is not None
    assert subcommand.make_context(name, words[2:], parent=context).params is not None


def test_all_other_commands_are_tested_elsewhere():
    others = {command for command in COMMANDS if "sentiment" not in command}
    assert others == {"pip install ."}  # Packaging installs the wheel.


def assert_shown(shown, printed, tolerance):
    """What the page shows is printed: equal but for the last digits; `[...]` leaves lines out."""
    pattern = r"(?:.*\n)*?".join(
        "".join(
            r"(-?\d+\.\d+(?:e-\d+)?)" if NUMBER.fullmatch(piece) else re.escape(piece)
            for piece in re.split(r"(-?\d+\.\d+)", part)
        )
        for part in re.split(r"^\[\.\.\.\]\n", shown, flags=re.MULTILINE)
    )
    # A bar of the trajectory may be one level higher or lower.
    pattern = re.sub("[▁-█]", "[▁-█]", pattern)
    found = re.fullmatch(pattern, printed)
    assert found, f"the page shows\n{shown}\nbut this is printed:\n{printed}"
    expected = [float(number) for number in NUMBER.findall(shown)]
    assert [float(number) for number in found.groups()] == pytest.approx(expected, abs=tolerance)


def run_block(language, block, run, names, capsys):
    """Runs a block as a reader would; yields each thing that ran, what is shown and printed."""
    if language == "python":
        exec(block, names)
        yield block, None, capsys.readouterr().out
    for command, shown in console_commands(block) if language == "console" else []:
        if command.startswith("sentiment-hf "):
            finished = run(*shlex.split(command)[1:])
            assert finished.exit_code == 0, (command, finished.stderr)
            yield command, shown, finished.stdout


def write_csv(path, rows):
    names = rows.features["label"].names
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["text", "label"])
        writer.writerows((row["text"], names[row["label"]]) for row in rows)


@pytest.fixture
def reader(tmp_path, monkeypatch, hub):
    """A reader's folder, with the two files that the README says are there, and a Hub account."""
    monkeypatch.chdir(tmp_path)
    hub.add_user("user", "hf_useruser")
    monkeypatch.setenv("HF_TOKEN", "hf_useruser")
    sample = load_reviews("sample")
    write_csv(tmp_path / "my.csv", sample["train"])
    write_csv(tmp_path / "new.csv", sample["test"])
    return tmp_path


@pytest.mark.slow
def test_a_reader_can_follow_the_readme_in_one_folder(reader, run, hub, capsys):
    names: dict = {}
    printed = ""
    for language, block in blocks(README):
        if language == "":
            assert_shown(block, printed, tolerance=2e-3)
        if language == "csv":
            header, *rows = block.splitlines()
            lines = (reader / "my.csv").read_text().splitlines()
            assert lines[0] == header
            assert set(rows) <= set(lines)
        for command, shown, printed in run_block(language, block, run, names, capsys):
            if shown:
                # What is trained here depends on the processor and its precision.
                tolerance = 0.15 if "my-lstm" in command else 2e-3
                assert_shown(
                    shown.replace("https://huggingface.co", hub.endpoint), printed, tolerance
                )
    assert names["pipe"].label_names == ["neg", "pos"]
    assert names["rows"].column_names == ["text", "label", "predicted_label", "predicted_score"]


@pytest.mark.parametrize("start", ["sentiment-hf predict", "sentiment-hf inspect"])
def test_what_the_reference_checkpoint_prints_is_shown(run, start):
    commands = [
        (command, shown)
        for language, block in blocks(README)
        if language == "console"
        for command, shown in console_commands(block)
        if command.startswith(start) and "--model" not in command
    ]
    assert commands
    for command, shown in commands:
        assert_shown(shown, run(*shlex.split(command)[1:]).stdout, tolerance=2e-3)


def test_the_figures_are_those_of_the_reference_checkpoint_and_of_the_benchmark():
    measured = json.loads((REFERENCE_FOLDER / EVALUATION_FILE).read_text())
    figures = README.split("## Install")[0]
    table = README.split("## How good it is")[1].split("## ")[0]
    assert f"{measured['accuracy']:.4f} on the {measured['n']:,} test reviews of IMDB" in figures
    assert f"| reference checkpoint | {measured['accuracy']:.4f} |" in table
    shown = re.search(r"its\s+accuracy is (0\.\d+)\s+on the sample corpus", README)[1]
    assert evaluate("sample")["accuracy"] == pytest.approx(float(shown), abs=0.01)
    size = (REFERENCE_FOLDER / WEIGHTS_FILE).stat().st_size
    assert f"{size / 1e6:.1f} MB" in figures
    benchmarks = (ROOT / "docs" / "benchmarks.md").read_text()
    speeds = dict(re.findall(r"^\| ([^|]+) \| ([\d,]+) \(", benchmarks, re.MULTILINE))
    ratio = re.search(r"^\| reference, bfloat16 \|[^|]*\| ([\d.]+) x", benchmarks, re.MULTILINE)
    assert f"{speeds['reference, bfloat16']} reviews a second" in figures
    assert f"{float(ratio[1]):.0f} times DistilBERT" in figures
    for row, name in (
        ("reference checkpoint", "reference, bfloat16"),
        ("TF-IDF of words and pairs", "TF-IDF pairs + logistic regression"),
        ("DistilBERT", "DistilBERT, bfloat16"),
    ):
        assert re.search(rf"^\| {row}.*\| {speeds[name]} \|", table, re.MULTILINE), row


@pytest.mark.slow
def test_the_training_page_runs_in_python(tmp_path, monkeypatch, run, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for language, block in blocks(TRAINING):
        if language == "python":
            list(run_block(language, block, run, names, capsys))
    assert names["x"].shape == (50, 200)
    assert names["y"].shape == (50,)


@pytest.mark.slow
def test_what_the_training_page_does_with_files_of_its_own_runs(reader, run):
    """In the folder that the README leaves, without the Hub; one epoch stands for all."""
    made = {"my.csv", "things.csv"}
    rows = "".join(
        f"Number {i},It is {('dull and cold', 'warm and good')[i % 2]} {i},"
        f"{('negative', 'positive')[i % 2]}\n"
        for i in range(100)
    )
    shown = next(block for language, block in blocks(TRAINING) if language == "csv")
    (reader / "things.csv").write_text(shown + rows)
    assert run("train", "my.csv", "--output", "my-lstm", "--epochs", 1).exit_code == 0
    ran = []
    for command in (c for c in COMMANDS if c in TRAINING and c.startswith("sentiment-hf ")):
        words = shlex.split(command)[1:]
        if words[1] in made and words[2].startswith("--") and "user/" not in command:
            finished = run(*words, "--epochs", 1)
            assert finished.exit_code == 0, (command, finished.stderr)
            ran.append(words[words.index("--output") + 1])
    assert ran == ["my-lstm", "things-lstm", "balanced-lstm", "my-encoder"]


def test_every_link_leads_somewhere():
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    for page in pages:
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert link.startswith("https://") or (page.parent / link).exists(), (page.name, link)


@pytest.mark.slow
def test_the_tour_runs(tmp_path):
    command = [sys.executable, ROOT / "scripts" / "tour.py"]
    finished = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=400, check=False
    )
    assert finished.returncode == 0, finished.stderr
    measured = json.loads((REFERENCE_FOLDER / EVALUATION_FILE).read_text())
    assert f"has {measured['accuracy']:.4f} on the 25,000 test reviews" in finished.stdout
    assert not list(tmp_path.iterdir())


def test_every_file_is_in_the_tree_of_the_architecture_page_and_nothing_else_is():
    tree = (ROOT / "docs" / "architecture.md").read_text().split("## Every file")[1].split("```")[1]
    listed, parents = set(), []
    for line in filter(None, tree.splitlines()):
        depth = (len(line) - len(line.lstrip())) // 2
        parents = [*parents[:depth], line.split()[0]]
        listed.add("".join(parents))
    folders = {name for name in listed if name.endswith("/")}
    # Of these two the content is data.
    whole = ("sentiment_hf/reference/", "sentiment_hf/sample/")
    there = {
        path.relative_to(ROOT).as_posix()
        for folder in ("sentiment_hf", "scripts")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.name != "__init__.py"
    }
    assert listed - folders == {name for name in there if not name.startswith(whole)}
    assert all((ROOT / name).is_dir() for name in folders)
