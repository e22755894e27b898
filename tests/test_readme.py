"""The README tells the truth: short offline commands run, all others parse."""

import re
import shlex
from pathlib import Path

import click
import pytest

from sentiment_hf.cli import main

README = (Path(__file__).parent.parent / "README.md").read_text()
CONSOLE = "\n".join(re.findall(r"```console\n(.*?)```", README, re.DOTALL))
COMMANDS = re.findall(r"^\$ (?:printf .*\| )?(sentiment-hf .*)$", CONSOLE, re.MULTILINE)
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
NEEDS_MORE = ("stanfordnlp/imdb", "my.csv", "user/", "imdb-lstm", "sentiment-hf demo")


def is_short_and_offline(command: str) -> bool:
    return not any(word in command for word in NEEDS_MORE)


def test_the_readme_has_commands_of_both_kinds():
    assert any(map(is_short_and_offline, COMMANDS))
    assert not all(map(is_short_and_offline, COMMANDS))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_parses(command):
    words = shlex.split(command)[1:]
    name, context = words[0], click.Context(main)
    subcommand = main.get_command(context, name)
    assert subcommand is not None
    assert subcommand.make_context(name, words[1:], parent=context).params is not None


def test_a_reader_can_follow_the_commands_and_then_the_python_in_one_folder(
    tmp_path, monkeypatch, run
):
    monkeypatch.chdir(tmp_path)
    for command in filter(is_short_and_offline, COMMANDS):
        finished = run(*shlex.split(command)[1:], stdin="Not bad at all.\nNot good at all.\n")
        assert finished.exit_code == 0, (command, finished.stderr)
        assert finished.stdout, command
    names: dict = {}
    for example in PYTHON:
        exec(example, names)
    assert names["x"].shape == (50, 200)
    assert names["y"].shape == (50,)


def test_the_printed_answers_are_what_the_reference_checkpoint_says(run):
    """What the README shows of `predict` is what a user will see."""
    shown = re.findall(r"^(pos|neg)\t(\d\.\d{4})\t(.*)$", CONSOLE, re.MULTILINE)
    assert shown
    for label, score, text in shown:
        answer = run("predict", text).stdout.split("\t")
        assert answer[0] == label
        assert float(answer[1]) == pytest.approx(float(score), abs=2e-3)


def test_every_file_of_the_tree_exists():
    root = Path(__file__).parent.parent
    tree = README.split("## What each file is")[1].split("```")[1]
    package = re.findall(r"^  (\S+) ", tree, re.MULTILINE)
    modules = {path.name for path in (root / "sentiment_hf").glob("*.py")}
    modules -= {"__init__.py", "version.py"}
    assert not [name for name in modules if name not in tree]
    scripts = [path.name for path in (root / "scripts").glob("*.py")]
    assert not [name for name in scripts if name not in tree]
    assert len(package) > 10
    for name in package:
        assert (root / "sentiment_hf" / name).exists(), name
