"""`train`: what it learns from, and what it writes."""

import json
import re

import pytest
import torch
from conftest import SENTENCES
from datasets import ClassLabel, Dataset, Features, Value

from sentiment_hf import SentimentPipeline, __version__, train
from sentiment_hf.training.rows import LabelledRows, TrainingRows
from sentiment_hf.training.validation import Validation

SMALL = {"epochs": 1, "batch_size": 64, "max_length": 30, "show_progress": False}
FILES = {
    "README.md",
    "config.json",
    "figures/training_curve.png",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "training.json",
}


@pytest.fixture(scope="module")
def easy(easy_csv, tmp_path_factory):
    """A checkpoint folder trained on the easy rows."""
    folder = tmp_path_factory.mktemp("training") / "easy"
    train(easy_csv, folder, **SMALL | {"epochs": 20, "batch_size": 16, "seed": 3})
    return folder


def record_of(folder):
    return json.loads((folder / "training.json").read_text())


def vocabulary(folder):
    return set(json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"])


def test_an_easy_data_set_is_learnt_to_the_last_epoch_where_few_rows_could_choose_one(easy):
    record = record_of(easy)
    assert record["validation_accuracy"] > 0.9
    assert len(record["history"]) == 20
    answers = SentimentPipeline.from_pretrained(easy)(["a warm , funny film", "a dull , grim film"])
    assert [answer["label"] for answer in answers] == ["pos", "neg"]


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(easy_csv, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(easy_csv, tmp_path / name, seed=seed, **SMALL)
    a, b, c = ((tmp_path / name / "model.safetensors").read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_the_folder_holds_the_files_of_the_contract_and_no_pickle(easy):
    files = {str(path.relative_to(easy)) for path in easy.rglob("*") if path.is_file()}
    assert files == FILES
    assert not list(easy.parent.glob(".*")), "something was left beside the folder"
    for name in files:
        assert not (easy / name).read_bytes().startswith((b"PK", b"\x80"))
    assert (easy / "figures/training_curve.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_training_json_tells_what_was_done_with_what_and_for_how_long(easy):
    record = record_of(easy)
    arguments = {"preset": "fast", "epochs": 20, "batch_size": 16, "seed": 3}
    assert arguments.items() <= record["arguments"].items()
    assert record["data"]["dataset"] == "easy.csv"
    assert record["data"]["revision"] is None
    assert (record["data"]["train_rows"], record["data"]["validation_rows"]) == (180, 20)
    assert re.fullmatch("[0-9a-f]{8,}", record["data"]["fingerprint"])
    assert record["versions"]["sentiment-hf"] == __version__
    assert record["versions"]["torch"] == torch.__version__
    assert record["hardware"]["device"]
    assert record["hardware"]["precision"] in ("bfloat16", "float32")
    assert record["seconds"] > 0
    steps = 180 // 16 + 1
    for number, entry in enumerate(record["history"], start=1):
        assert (entry["epoch"], entry["step"]) == (number, number * steps)
        figures = {"validation_accuracy", "validation_loss", "validation_calibrated_loss"}
        assert {"train_loss", *figures} <= set(entry)
    best = max(entry["validation_accuracy"] for entry in record["history"])
    assert record["validation_accuracy"] == pytest.approx(best, abs=0.051)


def test_nothing_that_is_written_names_an_absolute_path(easy):
    for name in FILES - {"model.safetensors", "figures/training_curve.png"}:
        assert str(easy.parent.parent) not in (easy / name).read_text()
    assert not re.search(r'"(/|~|[A-Z]:\\)', (easy / "training.json").read_text())


def test_the_options_arrive_in_what_is_written(easy_csv, tmp_path, run):
    options = "--preset article --epochs 2 --batch-size 45 --learning-rate 0.004 --vocab-size 9"
    options += " --max-length 17 --seed 5 --dtype float32 --json"
    result = run("train", easy_csv, "--output", tmp_path / "out", *options.split())
    assert result.exit_code == 0
    record = record_of(tmp_path / "out")
    assert json.loads(result.stdout) == record
    arguments = {"preset": "article", "epochs": 2, "batch_size": 45, "seed": 5}
    assert {**arguments, "learning_rate": 0.004}.items() <= record["arguments"].items()
    assert record["hardware"]["precision"] == "float32"
    assert [entry["step"] for entry in record["history"]] == [4, 8]
    config = json.loads((tmp_path / "out/config.json").read_text())
    expected = {"vocab_size": 9, "max_length": 17, "embedding_dim": 30, "hidden_size": 512}
    assert expected.items() <= config.items()
    assert (config["pooling"], config["bidirectional"]) == ("last", False)


def test_how_the_rows_were_read_is_written_down(easy_csv, tmp_path):
    train(easy_csv, tmp_path, max_samples=90, label_map={"neg": "bad", "pos": "good"}, **SMALL)
    record = record_of(tmp_path)
    assert record["data"]["train_rows"] + record["data"]["validation_rows"] == 90
    assert "max_samples" in json.dumps(record)
    assert '"bad"' in json.dumps(record)


def test_validation_rows_are_not_trained_on(easy):
    own_words = [word for word in vocabulary(easy) if word.startswith("row")]
    assert len(own_words) == record_of(easy)["data"]["train_rows"] == 180


def test_the_rows_of_a_test_split_change_nothing(easy_csv, tmp_path):
    rows = {"a": "text,label\ngood film,pos\n", "b": "text,label\n" + "x y,neg\n" * 9}
    for name, test in rows.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.csv").write_bytes(easy_csv.read_bytes())
        (tmp_path / name / "test.csv").write_text(test)
        train(tmp_path / name, tmp_path / f"out-{name}", **SMALL)
    one, other = (tmp_path / f"out-{name}/model.safetensors" for name in rows)
    assert one.read_bytes() == other.read_bytes()


def test_the_words_of_a_test_split_do_not_enter_the_vocabulary(easy_csv, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/train.csv").write_bytes(easy_csv.read_bytes())
    (tmp_path / "data/test.csv").write_text("text,label\n" + "unheard unheard film,pos\n" * 9)
    train(tmp_path / "data", tmp_path / "out", **SMALL)
    assert "film" in vocabulary(tmp_path / "out")
    assert "unheard" not in vocabulary(tmp_path / "out")


def test_a_column_of_floats_is_a_soft_label(easy_csv, tmp_path):
    soft = easy_csv.read_text().replace(",pos", ",0.8").replace(",neg", ",0.2")
    (tmp_path / "soft.csv").write_text(soft)
    settings = SMALL | {"epochs": 8, "batch_size": 16}
    pipe = train(tmp_path / "soft.csv", tmp_path / "out", **settings)
    assert pipe.config.label_names == ["neg", "pos"]
    texts = ["a dull , grim and cold film", "a warm , funny and tender film"]
    low, high = pipe.probabilities(texts)[:, 1].tolist()
    assert 0.1 < low < 0.45
    assert 0.55 < high < 0.9, "certain, although no row of the data is"


def test_three_labels_are_learnt(easy_csv, tmp_path):
    middling = [f"a {word} film and {word} music,mixed" for word in ("so-so", "fair") * 50]
    rows = easy_csv.read_text().splitlines()
    (tmp_path / "three.csv").write_text("\n".join(rows + middling))
    settings = SMALL | {"epochs": 12, "batch_size": 16}
    train(tmp_path / "three.csv", tmp_path / "out", **settings)
    pipe = SentimentPipeline.from_pretrained(tmp_path / "out")
    assert sorted(pipe.config.label_names) == ["mixed", "neg", "pos"]
    texts = ["a dull film with grim noisy music", "a fair film", "a warm film with lovely music"]
    assert [answer["label"] for answer in pipe(texts)] == ["neg", "mixed", "pos"]


@pytest.mark.parametrize(("batch_size", "where"), [(16, r"loss at step \d+ "), (500, "")])
def test_a_training_that_diverges_stops_with_a_sentence(easy_csv, tmp_path, run, batch_size, where):
    options = ["--learning-rate", 9e6, "--batch-size", batch_size, "--epochs", 3]
    result = run("train", easy_csv, "--output", tmp_path / "out", *options)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert re.search(f"^error: .*{where}.*--learning-rate", result.stderr.splitlines()[-1])
    assert not (tmp_path / "out/config.json").exists()


@pytest.mark.parametrize("labels", [2, 3])
def test_confidence_alone_does_not_change_the_score_of_an_epoch(make_pipeline, labels):
    pipe = make_pipeline(id2label={i: f"label {i}" for i in range(labels)})
    classes = pipe.probabilities(SENTENCES).argmax(dim=-1).tolist() * 5
    classes[::4] = [(label + 1) % labels for label in classes[::4]]  # Not all right.
    kind = Features({"text": Value("string"), "label": ClassLabel(names=pipe.label_names)})
    held_out = Dataset.from_dict({"text": SENTENCES * 5, "label": classes}, kind)
    rows = TrainingRows([LabelledRows("films", held_out, held_out, {})], pipe.label_names)
    validation = Validation(rows, pipe.tokenizer, "loss")
    scores, losses = [], []
    for factor in (10.0, 3.0):
        with torch.no_grad():
            pipe.network.linear.weight *= factor
            pipe.network.linear.bias *= factor
        score, figures = validation(pipe.network)
        scores.append(score)
        losses.append(figures["loss"])
    assert scores[0] == pytest.approx(scores[1], rel=1e-4)
    assert abs(losses[1] - losses[0]) > 0.01


def test_few_rows_get_a_hint_that_names_the_way(easy_csv, tmp_path, run):
    options = ["--epochs", 1, "--output"]
    assert "--init-from reference" in run("train", easy_csv, *options, tmp_path / "a").stderr
    started = run("train", easy_csv, *options, tmp_path / "b", "--init-from", tmp_path / "a")
    assert "--init-from" not in started.stderr
