"""A labelled data set on the Hub, with its card."""

import json
import subprocess
import sys
from pathlib import Path

import labelled_rows
from datasets import Dataset, load_dataset
from huggingface_hub import DatasetCard

from sentiment_hf.annotated_folder import push_annotation
from sentiment_hf.annotation import annotate

labelled = labelled_rows.labelled
rows = labelled_rows.rows


class TestSharing:
    def test_the_labelled_data_set_is_shared_with_a_card_that_names_its_model(
        self, hub, labelled, tmp_path
    ):
        result = labelled("--push-to", "ann/labelled", "--rows-per-shard", 16)
        assert result.exit_code == 0, result.stderr
        assert result.stdout.splitlines()[1] == f"{hub.endpoint}/datasets/ann/labelled"
        files = hub.files("ann/labelled", repo_type="dataset")
        assert len([name for name in files if name.endswith(".parquet")]) == 7
        card = files["README.md"].decode()
        record = json.loads((tmp_path / "out/annotation-00000-of-00001.json").read_text())
        assert "labelled by `checkpoint`" in card
        assert record["identity"]["model_checksum"] in card
        assert "90 rows, 9 of them without a text" in card
        assert str(tmp_path) not in card
        found = load_dataset("ann/labelled", cache_dir=str(tmp_path / "cache"))
        assert list(found["train"]["id"]) == list(range(70))

    def test_parts_are_shared_when_all_are_there(self, hub, labelled, tmp_path):
        parts = [["--num-shards", 2, "--shard-index", i] for i in (0, 1)]
        early = labelled(*parts[0], "--push-to", "ann/labelled")
        assert early.exit_code == 2
        assert "1 of 2 parts" in early.stderr
        assert labelled(*parts[1], "--push-to", "ann/labelled").exit_code == 0
        found = load_dataset("ann/labelled", cache_dir=str(tmp_path / "cache"))
        assert list(found["train"]["id"]) == list(range(70))

    def test_a_shard_that_is_missing_is_not_passed_over(self, hub, labelled, tmp_path):
        parts = [["--num-shards", 2, "--shard-index", i] for i in (0, 1)]
        assert [labelled(*part).exit_code for part in parts] == [0, 0]
        lost = "train-00000-of-00002-00000.parquet"
        (tmp_path / "out/data" / lost).unlink()
        result = labelled(*parts[1], "--push-to", "ann/labelled")
        assert result.exit_code == 2
        assert lost in result.stderr
        assert labelled(*parts[0], "--push-to", "ann/labelled").exit_code == 0

    def test_the_card_names_its_source_only_where_that_is_on_the_hub(self, hub, run, checkpoint):
        def source() -> list | None:
            card = hub.files("ann/labelled", repo_type="dataset")["README.md"].decode()
            return DatasetCard(card).data.get("source_datasets")

        rows = Dataset.from_dict({"text": ["good", "bad"]})
        for number, dataset in enumerate([rows, "sample"]):
            folder = annotate(dataset, checkpoint.parent / f"{number}", model=checkpoint)
            push_annotation(folder, "ann/labelled")
            assert source() is None
        hub.create("ann/reviews", "dataset")
        hub.commit("ann/reviews", {"train.csv": b"text\ngood\n"}, repo_type="dataset")
        folder = annotate("ann/reviews", checkpoint.parent / "hub", model=checkpoint)
        push_annotation(folder, "ann/labelled")
        assert source() == ["ann/reviews"]

    def test_nothing_in_a_card_breaks_out_of_its_place(self, hub, make_pipeline, tmp_path):
        labels = {0: "a|b`c", 1: "<b>[x](http://localhost)"}
        make_pipeline(id2label=labels).save_pretrained(tmp_path / "checkpoint")
        column = "a|`\nconfigs: \x1b"
        rows = Dataset.from_dict({column: ["good", "bad"]})
        folder = annotate(rows, tmp_path / "out", model=tmp_path / "checkpoint")
        push_annotation(folder, "ann/labelled")
        card = hub.files("ann/labelled", repo_type="dataset")["README.md"].decode()
        assert "\x1b" not in card
        (line,) = [line for line in card.splitlines() if line.startswith("| `predicted_label`")]
        assert r"`` a\|`\nconfigs: \x1b ``" in line
        assert r"`` a\|b`c ``, `<b>[x](http://localhost)` |" in line

    def test_json_stays_one_object(self, hub, labelled):
        result = labelled("--push-to", "ann/labelled", "--json")
        assert json.loads(result.stdout)["rows"] == 90
        assert f"{hub.endpoint}/datasets/ann/labelled" in result.stderr

    def test_the_map_script_shares_what_it_labelled(self, hub, rows, checkpoint, tmp_path):
        script = Path(__file__).parent.parent / "scripts/annotate_dataset.py"
        arguments = [rows, "labelled", "--model", checkpoint, "--push-to", "ann/mapped"]
        arguments += ["--text-column", "body"]
        done = subprocess.run(
            [sys.executable, script, *map(str, arguments)],
            cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found = load_dataset("ann/mapped", split="test", cache_dir=str(tmp_path / "cache"))
        assert found.features["predicted_label"].names == ["neg", "pos"]

    def test_a_model_of_the_hub_is_named_with_its_commit(
        self, hub, run, rows, checkpoint, tmp_path
    ):
        run("push", checkpoint, "ann/small", "--tag", "v1")
        options = ["--output", tmp_path / "out", "--text-column", "body", "--quiet"]
        options += ["--model", "ann/small@v1", "--push-to", "ann/labelled"]
        assert run("annotate", rows, *options).exit_code == 0
        card = hub.files("ann/labelled", repo_type="dataset")["README.md"].decode()
        assert f"`ann/small@v1`, revision `{hub.head('ann/small')}`" in card
