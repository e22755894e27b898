"""The scripts that a user copies: they run as they are."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from datasets import load_from_disk

SCRIPTS = Path(__file__).parent.parent / "scripts"


def run_script(name, *arguments, cwd):
    return subprocess.run(
        [sys.executable, SCRIPTS / name, *map(str, arguments)],
        cwd=cwd, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("options", [[], ["--num-proc", 2]], ids=["one process", "two"])
def test_annotate_dataset(tmp_path, checkpoint, options):
    (tmp_path / "my.csv").write_text("body,n\n" + "a good film,1\n,2\nbad,3\n" * 5)
    arguments = ["my.csv", "out", "--text-column", "body", "--model", checkpoint, *options]
    done = run_script("annotate_dataset.py", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "train: 15 rows\n"
    rows = load_from_disk(tmp_path / "out")["train"]
    assert rows.column_names == ["body", "n", "predicted_label", "predicted_score"]
    assert rows["predicted_label"][1] is None
    assert rows["predicted_label"][0] in ("neg", "pos")


def test_its_own_metadata_names_what_it_needs():
    for path in SCRIPTS.glob("*_dataset.py"):
        lines = path.read_text().split("# /// script\n")[1].split("# ///")[0].splitlines()
        metadata = tomllib.loads("\n".join(line.removeprefix("# ") for line in lines))
        assert metadata["requires-python"] == ">=3.11"
        assert "sentiment-hf" in metadata["dependencies"]
