"""The scripts that fine-tune a teacher, and that measure how many labels are enough."""

import json

import pytest
from datasets import Dataset, DatasetDict
from script_process import SCRIPTS, run_script
from tiny_bert import save_tiny_bert

from sentiment_hf.checkpoint.folder import EVALUATION_FILE
from sentiment_hf.errors import SentimentError
from sentiment_hf.training.transformers_teacher import TransformersTeacher


@pytest.mark.slow
@pytest.mark.parametrize("script", ["finetune_teacher.py", "adapt_encoder.py"])
def test_an_encoder_that_cannot_be_reached_is_one_sentence(tmp_path, script):
    done = run_script(script, "sample", "--output", "out", "--base", "user/encoder", cwd=tmp_path)
    assert done.returncode == 1
    *_, last = done.stderr.splitlines()
    assert last.startswith("error: The encoder 'user/encoder' could not be had: the Hub cannot")
    assert "Retrying" not in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def change_json(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.fixture
def base(tmp_path):
    return save_tiny_bert(tmp_path / "base", ["a", "dull", "warm", "film"], kind="BertModel")


@pytest.fixture
def films(tmp_path):
    """Writes `NAME.csv`, 40 rows with a label each."""

    def write(name, labels):
        rows = [f"{i} {('a dull', 'a warm')[i % 2]} film,{labels[i % 2]}" for i in range(40)]
        (tmp_path / name).write_text("\n".join(["text,label", *rows]) + "\n")
        return name

    return write


@pytest.fixture
def short_reviews():
    """Short rows of two labels, some without one, that a network of any size learns."""

    def split(count, labelled=True):
        texts = [f"{i} {('a dull', 'a warm')[i % 2]} film" for i in range(count)]
        labels = [("neg", "pos")[i % 2] for i in range(count)]
        return Dataset.from_dict({"text": texts, "label": labels if labelled else [None] * count})

    features = split(80).features
    return DatasetDict(
        train=split(80), test=split(30), unsupervised=split(200, False).cast(features)
    )


@pytest.mark.slow
def test_few_labels_writes_its_page(tmp_path, base, checkpoint, short_reviews):
    short_reviews.save_to_disk(tmp_path / "reviews")
    arguments = ["--dataset", "reviews", "--encoder", checkpoint, "--labels", 60]
    arguments += ["--base", base, "--docs", tmp_path, "--rounds", 2]
    done = run_script("few_labels.py", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "few_labels.md").read_text()
    assert done.stdout == page + "\n"
    row = next(line for line in page.splitlines() if line.startswith("| 60 |"))
    accuracies = [float(cell) for cell in row.split("|")[2:-1]]
    assert len(accuracies) == 5
    assert all(0 < accuracy <= 1 for accuracy in accuracies)
    assert (tmp_path / "few_labels.png").read_bytes().startswith(b"\x89PNG")
    for way in ("fast", "best", "student"):
        record = json.loads((tmp_path / f"runs/few/60/{way}/training.json").read_text())
        assert record["data"]["train_rows"] + record["data"]["validation_rows"] == 60
    # The student is taught by both, and reads the texts that are not in the test split.
    assert record["arguments"]["teacher"] == "best, transformer"
    assert 100 < record["data"]["unlabelled_rows"] <= 170


@pytest.mark.slow
def test_a_teacher_is_fine_tuned_on_several_data_sets_and_teaches(
    tmp_path, base, short_reviews, run
):
    short_reviews.save_to_disk(tmp_path / "films")
    short_reviews.save_to_disk(tmp_path / "goods")
    arguments = ["films", "goods", "--base", base, "--epochs", 10, "--learning-rate", 0.02]
    arguments += ["--batch-size", 8]
    done = run_script("finetune_teacher.py", *arguments, "--output", "teacher", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    measured = json.loads((tmp_path / "teacher/validation.json").read_text())
    assert list(measured) == ["films", "goods"]
    assert min(measured.values()) > 0.9
    options = ["--output", tmp_path / "student", "--teacher", tmp_path / "teacher", "--epochs", 1]
    taught = run("train", tmp_path / "films", *options)
    assert taught.exit_code == 0, taught.stderr


@pytest.mark.slow
def test_a_finished_teacher_is_given_for_the_same_request_alone(tmp_path, base, films):
    films("a.csv", ("neg", "pos"))
    films("flipped.csv", ("pos", "neg"))

    def finetune(dataset, *options):
        arguments = [dataset, "--base", base, "--epochs", 2, "--output", "ft", *options]
        return run_script("finetune_teacher.py", *arguments, cwd=tmp_path)

    first = finetune("a.csv")
    assert first.returncode == 0, first.stderr
    weights = (tmp_path / "ft/model.safetensors").read_bytes()
    again = finetune("a.csv")
    assert again.returncode == 0
    assert first.stdout == again.stdout
    assert json.loads(again.stdout) == json.loads((tmp_path / "ft/validation.json").read_text())
    assert "ft holds this training, finished: nothing was trained." in again.stderr
    for dataset, option, differing in (
        ("flipped.csv", ["--seed", 3], "has other `seed` (0, not 3)"),
        ("a.csv", ["--epochs", 3], "has other `epochs` (2.0, not 3.0)"),
        ("flipped.csv", [], "read other data: the data has changed; run"),
    ):
        refused = finetune(dataset, *option)
        assert refused.returncode == 2
        *_, last = refused.stderr.splitlines()
        assert last.startswith(f"error: The training in ft {differing}")
    # The base is known by its content, and no path of it is kept.
    same = finetune("a.csv", "--base", "./base/../base")
    assert same.stdout == first.stdout
    assert str(base) not in (tmp_path / "ft/request.json").read_text()
    save_tiny_bert(base, ["a", "dull", "warm", "film", "book"], kind="BertModel")
    assert "began with another `base`: the encoder has changed; run" in finetune("a.csv").stderr
    (tmp_path / "ft/request.json").unlink()
    assert "ft holds files, and no request.json" in finetune("a.csv").stderr
    assert (tmp_path / "ft/model.safetensors").read_bytes() == weights


@pytest.mark.slow
def test_a_request_that_failed_before_it_trained_is_replaced(tmp_path, base, films):
    def finetune(*options):
        arguments = ["a.csv", "--base", base, "--epochs", 1, "--output", "ft", *options]
        return run_script("finetune_teacher.py", *arguments, cwd=tmp_path)

    films("a.csv", ("neg", "pos"))
    (tmp_path / "ft").mkdir()
    (tmp_path / "ft/request.json.0123456789abcdef.tmp").touch()  # As a kill leaves one.
    failed = finetune("--max-length", 2)
    assert failed.returncode == 2
    assert "there is no room for words" in failed.stderr
    assert (tmp_path / "ft/request.json").exists()
    corrected = finetune("--max-length", 8)
    assert corrected.returncode == 0, corrected.stderr
    assert json.loads((tmp_path / "ft/request.json").read_text())["max_length"] == 8


@pytest.mark.slow
def test_a_request_is_kept_from_the_first_checkpoint_on(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    from encoder_training import finished_figures

    assert finished_figures(tmp_path, {"seed": 0}, "figures.json") is None
    assert finished_figures(tmp_path, {"seed": 1}, "figures.json") is None
    (tmp_path / "steps/checkpoint-5").mkdir(parents=True)
    assert finished_figures(tmp_path, {"seed": 1}, "figures.json") is None
    with pytest.raises(SentimentError, match=r"other `seed` \(1, not 2\)"):
        finished_figures(tmp_path, {"seed": 2}, "figures.json")
    assert json.loads((tmp_path / "request.json").read_text()) == {"seed": 1}


@pytest.mark.slow
def test_a_teacher_that_was_cut_off_resumes_at_its_newest_whole_checkpoint(tmp_path, base, films):
    arguments = [films("a.csv", ("neg", "pos")), "--base", base, "--epochs", 2, "--output", "ft"]
    assert run_script("finetune_teacher.py", *arguments, cwd=tmp_path).returncode == 0
    model, figures = tmp_path / "ft/model.safetensors", tmp_path / "ft/validation.json"
    weights, measured = model.read_bytes(), figures.read_text()
    model.unlink()
    figures.unlink()
    (tmp_path / "ft/steps/checkpoint-999").mkdir()  # As a cut leaves one.
    resumed = run_script("finetune_teacher.py", *arguments, cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert model.read_bytes() == weights
    assert figures.read_text() == measured


@pytest.mark.slow
def test_a_teacher_learns_soft_labels(tmp_path, base, films, run):
    arguments = [films("soft.csv", (0.1, 0.8)), "--base", base, "--output", "ft"]
    arguments += ["--epochs", 40, "--learning-rate", 0.02]
    done = run_script("finetune_teacher.py", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "ft/validation.json").read_text()) == {"soft.csv": 1.0}
    teacher = TransformersTeacher(tmp_path / "ft")
    answers = teacher.probabilities(["3 a dull film", "4 a warm film"])[:, 1]
    assert answers == pytest.approx([0.1, 0.8], abs=0.1)
    options = ["--output", tmp_path / "student", "--teacher", tmp_path / "ft", "--epochs", 1]
    taught = run("train", tmp_path / "soft.csv", *options)
    assert taught.exit_code == 0, taught.stderr


@pytest.mark.slow
def test_an_encoder_is_adapted_once_for_one_request(tmp_path, base, films):
    arguments = ["films", "--base", base, "--epochs", 1, "--output", "out"]
    words = ["a", "dull", "warm", "film", "[MASK]"]
    save_tiny_bert(base, words, kind="BertForMaskedLM")
    change_json(base / "tokenizer_config.json", mask_token="[MASK]")
    (tmp_path / "films").mkdir()
    train = tmp_path / films("films/train.csv", ("neg", "pos"))
    train.write_text(train.read_text().replace("film", "film " * 10))
    # Five of the forty rows also stand in the test split, none of which is among four held out.
    (tmp_path / "films/test.csv").write_text("".join(train.open().readlines()[:6]))
    done = run_script("adapt_encoder.py", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    weights = (tmp_path / "out/model.safetensors").read_bytes()
    again = run_script("adapt_encoder.py", *arguments, cwd=tmp_path)
    assert again.returncode == 0
    assert "nothing was trained" in again.stderr
    assert json.loads(again.stdout) == {"windows": 31, "steps": 1}
    train.write_text(train.read_text().replace("dull", "dry"))
    refused = run_script("adapt_encoder.py", *arguments, cwd=tmp_path)
    assert refused.returncode == 2
    assert "error: The training in out read other texts: the texts have changed" in refused.stderr
    assert (tmp_path / "out/model.safetensors").read_bytes() == weights


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "token"), [("finetune_teacher.py", "pad"), ("adapt_encoder.py", "mask")]
)
def test_an_encoder_whose_tokenizer_lacks_a_token_is_one_sentence(tmp_path, base, script, token):
    change_json(base / "tokenizer_config.json", **{f"{token}_token": None})
    done = run_script(script, "sample", "--output", "out", "--base", "base", cwd=tmp_path)
    assert done.returncode == 2
    *_, last = done.stderr.splitlines()
    assert last == (
        f"error: The tokenizer of 'base' has no {token} token; name another encoder with `base`."
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("left", ["config.json", "tokenizer_config.json"])
def test_an_encoder_without_a_tokenizer_is_one_sentence(tmp_path, base, monkeypatch, left):
    monkeypatch.syspath_prepend(SCRIPTS)
    from encoder_training import load_tokenizer

    for path in base.iterdir():
        if path.name != left:
            path.unlink()
    with pytest.raises(SentimentError, match=r"has no tokenizer .*name another") as refused:
        load_tokenizer(str(base), "pad_token")
    assert refused.value.exit_status == 2


@pytest.mark.slow
def test_the_reference_is_measured_once_on_each_data_set(
    tmp_path, monkeypatch, checkpoint, short_reviews
):
    monkeypatch.syspath_prepend(SCRIPTS)
    from train_reference import measure_once

    splits = {"train": short_reviews["train"], "validation": short_reviews["test"]}
    goods = tmp_path / "goods"
    DatasetDict(splits).save_to_disk(goods)
    measure_once(str(goods), "validation", checkpoint)
    measure_once("sample", "test", checkpoint)
    record = (checkpoint / EVALUATION_FILE).read_text()
    assert json.loads(record)["dataset"] == "sample"
    measure_once(str(goods), "validation", checkpoint)
    measure_once("sample", "test", checkpoint)
    assert (checkpoint / EVALUATION_FILE).read_text() == record
    assert "| goods | validation | 30 |" in (checkpoint / "README.md").read_text()
