"""The wheel: it holds all that prediction needs, in an empty environment, from any folder."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import sentiment_hf
from sentiment_hf.checkpoint.folder import CARD_FILE, REFERENCE_FOLDER

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, ROOT]
    subprocess.run(command, check=True, timeout=300)
    return next(folder.glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_holds_every_data_file_and_nothing_else(wheel):
    inside = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(
        ["git", "ls-files", "sentiment_hf"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    missing = set(tracked.stdout.split()) - inside
    assert not missing
    assert {name.split("/")[0].split("-")[0] for name in inside} == {"sentiment_hf"}


@pytest.mark.slow
def test_an_installed_wheel_predicts_in_an_empty_environment(wheel, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True, timeout=120)
    python = tmp_path / "venv" / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", wheel]
    subprocess.run(install, check=True, timeout=580)
    command = [tmp_path / "venv" / "bin" / "sentiment-hf", "predict", "--json", "A wonderful film."]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    finished = subprocess.run(
        command, cwd=elsewhere, capture_output=True, text=True, check=True, timeout=120
    )
    assert json.loads(finished.stdout)["label"] == "pos"


def test_the_version_is_said_in_one_place(run):
    assert run("--version").stdout == f"sentiment-hf, version {sentiment_hf.__version__}\n" or (
        run("--version").stdout.strip().endswith(sentiment_hf.__version__)
    )
    places = [
        path
        for path in [*ROOT.glob("*.toml"), *ROOT.glob("sentiment_hf/**/*.py")]
        if f'"{sentiment_hf.__version__}"' in path.read_text()
    ]
    assert places == [ROOT / "sentiment_hf" / "version.py"]


def test_prediction_imports_neither_datasets_nor_a_metrics_library():
    script = (
        "import sys; from sentiment_hf import SentimentPipeline;"
        "SentimentPipeline.from_pretrained()('A film.');"
        "heavy = ('datasets', 'accelerate', 'sklearn', 'matplotlib');"
        "print([name for name in heavy if name in sys.modules])"
    )
    finished = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    assert finished.stdout.strip() == "[]"


def test_the_card_of_the_repository_is_the_card_of_the_reference_checkpoint():
    assert (ROOT / "model_card.md").read_bytes() == (REFERENCE_FOLDER / CARD_FILE).read_bytes()


def test_the_reference_checkpoint_fits_the_package():
    size = sum(path.stat().st_size for path in REFERENCE_FOLDER.rglob("*") if path.is_file())
    assert size <= 12_000_000


def test_the_package_imports_neither_scripts_nor_tests():
    for path in ROOT.glob("sentiment_hf/**/*.py"):
        source = path.read_text()
        assert "import scripts" not in source
        assert "from scripts" not in source
        assert "from tests" not in source
