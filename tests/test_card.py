"""The card: from measured facts only, complete, and readable by the Hub."""

import ast
import json
import os
import re
import shutil

import pytest
import yaml
from huggingface_hub import ModelCard

from sentiment_hf import evaluate
from sentiment_hf.checkpoint.card import is_as_rendered, render_card
from sentiment_hf.checkpoint.files import read_json
from sentiment_hf.checkpoint.folder import REFERENCE_FOLDER
from sentiment_hf.checkpoint.records import write_record
from sentiment_hf.checkpoint.weights import checksum_of_weights
from sentiment_hf.errors import printable
from sentiment_hf.export.transformers_folder import export_transformers


@pytest.fixture
def evaluated(trained, tmp_path):
    """The trained checkpoint with `eval_results.json`, and its card."""
    folder = tmp_path / "evaluated"
    shutil.copytree(trained, folder)
    evaluate("sample", folder, save=True)
    return folder


@pytest.fixture(params=["evaluated", "reference"])
def folder(request):
    if request.param == "reference":
        return REFERENCE_FOLDER
    return request.getfixturevalue("evaluated")


def metadata(folder) -> dict:
    return yaml.safe_load((folder / "README.md").read_text().split("---")[1])


def test_the_card_in_the_folder_is_what_its_files_say(folder):
    assert (folder / "README.md").read_text() == render_card(folder)


def test_the_hub_can_read_the_metadata_and_they_round_trip(folder):
    card = ModelCard((folder / "README.md").read_text(), ignore_metadata_errors=False)
    assert yaml.safe_load(card.data.to_yaml()) == metadata(folder)
    assert card.data.library_name == "sentiment-hf"
    assert card.data.pipeline_tag == "text-classification"
    assert card.data.tags == ["lstm", "sentiment-analysis"], "a mixin's tags are for mixins"


def test_the_model_index_holds_the_measured_figures(folder):
    results = read_json(folder / "eval_results.json")
    entries = metadata(folder)["model-index"][0]["results"]
    measured = [results, *results.get("others", [])]
    for entry, one in zip(entries, measured, strict=True):
        assert entry["dataset"]["split"] == one["split"]
        shown = {metric["type"]: metric["value"] for metric in entry["metrics"]}
        assert set(shown) == {"accuracy", "precision", "recall", "f1", "roc_auc"}
        for name, value in shown.items():
            assert value == pytest.approx(one[name], abs=5e-5)
    assert measured[0]["split"] == "test"


def test_the_tables_hold_the_measured_figures(folder):
    text = (folder / "README.md").read_text()
    results = read_json(folder / "eval_results.json")
    training = read_json(folder / "training.json")
    for name in ("accuracy", "f1", "log_loss", "ece"):
        assert f"| {name.replace('_', ' ')} | {results[name]:.4f} |" in text
    for row in [*results["by_length"], *results["by_confidence"]]:
        assert f"| {row['n']:,} | {row['accuracy']:.4f} |" in text
    assert sum(row["n"] for row in results["by_length"]) == results["n"]
    for version in training["versions"].values():
        assert version in text
    assert f"| learning rate | {training['arguments']['learning_rate']} |" in text
    for figure in ("training_curve", "confusion_matrix", "reliability"):
        assert f"figures/{figure}.png" in text


def test_no_field_is_empty(folder):
    text = (folder / "README.md").read_text()
    assert not re.search(r"None|nan|\{\{|\|\s*\|\s*$|More Information", text.split("---", 2)[2])
    for value in metadata(folder).values():
        assert value not in (None, "", [])


def test_the_code_of_the_card_runs(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder.parent)
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    exec(code, {})
    assert "label" in capsys.readouterr().out


def test_a_card_without_an_evaluation_claims_nothing(trained):
    text = (trained / "README.md").read_text()
    assert "## Evaluation" not in text
    assert "model-index" not in metadata(trained)


def test_the_card_that_train_writes_bears_the_name_of_the_folder(trained):
    text = (trained / "README.md").read_text()
    assert f"\n# {trained.name}\n" in text
    assert text == render_card(trained)


def test_a_card_lists_each_data_set_that_was_learnt_from(trained, tmp_path):
    folder = tmp_path / "several"
    shutil.copytree(trained, folder)
    training = read_json(folder / "training.json")
    names = ["stanfordnlp/imdb", "mine.csv", "stanfordnlp/sst2"]
    training["data"]["dataset"] = ", ".join(names)
    training["data"]["datasets"] = [{"dataset": name} for name in names]
    (folder / "training.json").write_text(json.dumps(training))
    data = ModelCard(render_card(folder)).data
    assert data.datasets == ["stanfordnlp/imdb", "stanfordnlp/sst2"]
    assert data.license is None, "what holds of IMDB alone is not said of others"


def test_an_edited_card_is_told_from_a_rendered_one(trained):
    text = ModelCard((trained / "README.md").read_text()).text
    assert is_as_rendered(text)
    assert not is_as_rendered(text.replace("word-level", "fine"))
    assert not is_as_rendered(f"{text}\nOne line more.\n")
    assert not is_as_rendered("# A card by hand\n")


def test_the_figures_of_the_reference_card_are_those_of_its_records():
    training = json.loads((REFERENCE_FOLDER / "training.json").read_text())
    assert training["data"]["dataset"] == "imdb, sst2, fdu_mtl"
    assert metadata(REFERENCE_FOLDER)["datasets"] == ["stanfordnlp/imdb", "stanfordnlp/sst2"]
    assert metadata(REFERENCE_FOLDER)["license"] == "apache-2.0"


def test_a_card_of_three_labels_names_them_all(make_pipeline, tmp_path):
    names = {0: "bad", 1: "mixed", 2: "good"}
    make_pipeline(id2label=names).save_pretrained(tmp_path / "three")
    data = tmp_path / "data.csv"
    rows = [f"a {word} film,{name}" for name in names.values() for word in ("good", "bad")]
    data.write_text("\n".join(["text,label", *rows]) + "\n")
    evaluate(data, tmp_path / "three", split="train", save=True)
    text = (tmp_path / "three/README.md").read_text()
    assert "`bad` and `mixed` and `good`" in text
    assert "| roc auc | " in text
    assert not re.search(r"None|nan|More Information", text.split("---", 2)[2])


def test_labels_and_records_stay_text_in_every_card(make_pipeline, tmp_path):
    names = {0: "a|b`c", 1: "![x](http://localhost/x.png)<img>", 2: "good: [1]\\"}
    folder = tmp_path / "[a](b)<i>"
    make_pipeline(id2label=names).save_pretrained(folder)
    data = {"columns": {"text": "t", "label": "l"}, "left_out": {}, "oddities": [names[1]]}
    data |= {"dataset": names[1], "train_rows": 3, "validation_rows": 1}
    data |= {"classes": dict.fromkeys(names.values(), 1)}
    training = {"data": data, "arguments": {}, "validation_accuracy": 0, "seconds": 1}
    training |= {"hardware": {"device": "d", "precision": "p"}, "versions": {}}
    write_record(folder, "training.json", training, checksum_of_weights(folder))
    export_transformers(folder, tmp_path / "exported")
    for card in (render_card(folder), (tmp_path / "exported/README.md").read_text()):
        yaml.safe_load(card.split("---")[1])
        assert "`` a|b`c ``" in card
        shown = card.split("---", 2)[2].replace(f"`{names[1]}`", "").replace(f"`{folder.name}`", "")
        assert not re.search(r"(?<!\\)\]\(|<i", shown.replace(f'"{folder.name}"', ""))
    listed = r"a\|b\`c 1, !\[x\](http://localhost/x.png)&lt;img&gt; 1, good: \[1\]\\ 1; texts"
    assert listed in render_card(folder)


def test_names_and_nested_values_stay_text_in_the_card(make_pipeline, tmp_path):
    evil = "[click](http://localhost) ![p](http://localhost/p.png)"
    folder = tmp_path / 'a"b\n```\n<script>`'
    make_pipeline().save_pretrained(folder)
    data = {"dataset": "own", "train_rows": 3, "validation_rows": 1}
    training = {"data": data, "arguments": {"teacher": [evil], "more": {evil: [evil]}}}
    training |= {"validation_accuracy": 0, "seconds": 1, "versions": {}}
    training |= {"hardware": {"device": "d", "precision": "p"}}
    write_record(folder, "training.json", training, checksum_of_weights(folder))
    evaluate("sample", folder, save=True)
    (folder / "figures/x](y) <img src=x>\n\n# Evil.png").write_bytes(b"")
    text = render_card(folder).split("---", 2)[2]
    (code,) = re.findall(r"```python\n(.*?)\n```\n", text, re.DOTALL)
    ast.parse(code)
    command = f"sentiment-hf evaluate my.csv --model {printable(folder.name)}"
    shown = text.replace(code, "").replace(f"```` {command} ````", "")
    assert not re.search(r"(?<!\\)(?:\\\\)*\]\(http|<(?:script|img)|^# Evil", shown, re.MULTILINE)
    figures = "![x\\](y) &lt;img src=x&gt;\\n\\n# Evil](figures/x%5D%28y%29%20%3Cimg%20src%3Dx%3E"
    assert figures in shown.replace("\\\\n", "\\n")
    assert text.count("\n```") == 4


def test_a_figure_that_could_not_be_measured_is_left_out(make_pipeline, tmp_path):
    make_pipeline().save_pretrained(tmp_path / "two")
    data = tmp_path / "data.csv"
    data.write_text("text,label\n" + "a good film,pos\n" * 5)
    evaluate(data, tmp_path / "two", split="train", save=True)
    text = (tmp_path / "two/README.md").read_text()
    assert "| accuracy | " in text
    assert "roc auc" not in text
    shown = metadata(tmp_path / "two")["model-index"][0]["results"][0]["metrics"]
    assert "roc_auc" not in {metric["type"] for metric in shown}


@pytest.mark.slow
@pytest.mark.skipif(
    "SENTIMENT_HF_IMDB" not in os.environ,
    reason="IMDB is not part of the package: set SENTIMENT_HF_IMDB to a folder that holds it",
)
def test_the_reference_card_says_what_the_checkpoint_gives_on_imdb():
    saved = read_json(REFERENCE_FOLDER / "eval_results.json")
    found = evaluate(os.environ["SENTIMENT_HF_IMDB"])
    for name in ("accuracy", "f1", "roc_auc", "log_loss", "ece"):
        assert found[name] == pytest.approx(saved[name], abs=2e-4), name
