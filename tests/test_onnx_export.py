"""The folder that `export --format onnx` writes: it runs as its card says, and checks itself."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx_checkpoints
import pytest
from onnx_checkpoints import CHANGES, TEXTS, opened, weights_of

from sentiment_hf import SentimentError
from sentiment_hf.checkpoint.folder import CONFIG_FILE
from sentiment_hf.checkpoint.weights import write_encoder
from sentiment_hf.export import onnx_folder
from sentiment_hf.export.onnx import build_graph
from sentiment_hf.export.onnx_folder import GRAPH_FILE, export_onnx

cache = onnx_checkpoints.cache
checkpoint = onnx_checkpoints.checkpoint
exported = onnx_checkpoints.exported


def noted(path: Path, content: bytes) -> None:
    """Puts something else in the place of a graph, and its checksum into the configuration."""
    path.write_bytes(content)
    config = path.parent.parent / CONFIG_FILE
    values = json.loads(config.read_text())
    config.write_text(json.dumps({**values, "onnx_sha256": onnx_folder._sha256(content)}))


def add_memory(graph) -> None:
    """Gigabytes of zeros, which the answer does not even need."""
    graph.initializer.append(onnx.numpy_helper.from_array(np.array([2**33]), "many"))
    graph.node.insert(0, onnx.helper.make_node("ConstantOfShape", ["many"], ["zeros"]))


def pad_more(graph) -> None:
    """The same nodes, but a text becomes thousands of millions of words long."""
    for tensor in graph.initializer:
        if tensor.dims == [4]:
            tensor.raw_data = np.array([0, 0, 0, 2**33]).tobytes()


def another_temperature(graph) -> None:
    for tensor in graph.initializer:
        if not tensor.dims and tensor.data_type == onnx.TensorProto.FLOAT:
            tensor.raw_data = np.float32(-1).tobytes()


def weights_from_a_file(graph) -> None:
    tensor = next(tensor for tensor in graph.initializer if tensor.name == "linear.weight")
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../secret")


STRANGE = [add_memory, pad_more, another_temperature, weights_from_a_file]


class TestExport:
    def test_the_folder_runs_as_its_card_says(self, run, checkpoint, tmp_path):
        result = run("export", checkpoint, "--format", "onnx", "--output", tmp_path / "out")
        assert result.exit_code == 0, result.stderr
        assert result.stdout == f"{tmp_path / 'out'}\n"
        out = tmp_path / "out"
        files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
        assert files == {
            "onnx/model.onnx", "config.json", "tokenizer.json", "tokenizer_config.json",
            "README.md",
        }  # fmt: skip
        # A tokenizer that cuts for itself would keep the head alone.
        assert "model_max_length" not in json.loads((out / "tokenizer_config.json").read_text())
        card = (out / "README.md").read_text()
        assert str(tmp_path) not in card
        runtime, package = re.findall("```python\n(.+?)```", card, re.DOTALL)
        answers = opened(checkpoint, "torch")("A film I will remember.", top_k=None)
        for code in (runtime, package):
            finished = subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, cwd=out, check=True
            )
            scores = [float(number) for number in re.findall(r"0\.\d+", finished.stdout)]
            assert max(scores) == pytest.approx(answers[0]["score"], abs=1e-5)

    @pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
    def test_the_weights_are_stored_as_asked_for(self, run, checkpoint, tmp_path, dtype):
        out = tmp_path / "out"
        arguments = ["export", checkpoint, "--format", "onnx", "--output", out, "--dtype", dtype]
        assert run(*arguments).exit_code == 0
        card = (out / "README.md").read_text()
        assert f"stored as {dtype}" in card
        assert ("reviews of IMDB" in card) == (dtype == "int8")
        tolerance = {"float32": 1e-5, "float16": 1e-2, "int8": 0.1}[dtype]
        expected = opened(checkpoint, "torch").probabilities(TEXTS)
        np.testing.assert_allclose(opened(out).probabilities(TEXTS), expected, atol=tolerance)

    def test_two_exports_are_equal_byte_for_byte(self, checkpoint, exported, tmp_path):
        again = export_onnx(checkpoint, tmp_path / "again")
        for path in exported.rglob("*"):
            if path.is_file():
                assert (again / path.relative_to(exported)).read_bytes() == path.read_bytes()

    def test_the_reference_answers_the_same(self, tmp_path):
        export_onnx(None, tmp_path / "out")
        assert (tmp_path / "out" / GRAPH_FILE).stat().st_size < 9_000_000
        texts = [*TEXTS, "A film I will remember.", "dull " * 900]
        expected = opened(None, "torch").probabilities(texts)
        np.testing.assert_allclose(
            opened(tmp_path / "out").probabilities(texts), expected, atol=1e-5
        )

    def test_what_cannot_be_exported_is_one_sentence(self, run, checkpoint, exported, tmp_path):
        encoder = tmp_path / "encoder"
        shutil.copytree(checkpoint, encoder)
        write_encoder(encoder, opened(checkpoint, "torch").network)
        (tmp_path / "full").mkdir()
        (tmp_path / "full/mine.txt").touch()
        before = sorted(tmp_path.rglob("*"))
        for model, output, said in [
            (encoder, "out", "without a head"),
            (tmp_path / "full", "out", "config.json"),
            (tmp_path / "nowhere", "out", "nowhere"),
            (exported, "out", "model.safetensors"),
            (checkpoint, "full", "full.*--output"),
            (checkpoint, "full/mine.txt", "mine.txt.*--output"),
            (checkpoint, "checkpoint", "checkpoint.*--output"),
        ]:
            result = run("export", model, "--format", "onnx", "--output", tmp_path / output)
            assert result.exit_code == 2
            assert re.search(said, result.stderr)
            assert result.stderr.count("\n") == 1
        assert sorted(tmp_path.rglob("*")) == before
        with pytest.raises(SentimentError, match=r"`dtype`.*float32, float16, int8"):
            export_onnx(checkpoint, tmp_path / "out", dtype="int4")

    def test_a_weight_that_float16_cannot_hold_is_one_sentence(self, make_network):
        network = make_network()
        network.linear.bias.data.fill_(1e6)
        with pytest.raises(SentimentError, match=r"linear.bias.*float16"):
            build_graph(network.config, weights_of(network), "float16")

    @pytest.mark.parametrize(
        ("damage", "said"),
        [
            (lambda graph, other: graph.unlink(), "has no onnx/model.onnx"),
            (lambda graph, other: graph.write_bytes(graph.read_bytes()[:-1]), "checksum"),
            (lambda graph, other: graph.write_bytes(b""), "checksum"),
            (lambda graph, other: graph.write_bytes(other), "checksum"),
            (lambda graph, other: noted(graph, b"no graph"), "not the graph"),
            (noted, "not the graph"),
        ],
        ids=["none", "cut", "empty", "another's", "no graph", "of other labels"],
    )
    def test_a_graph_that_does_not_fit_is_not_loaded(self, exported, make_network, damage, said):
        network = make_network(labels=5)
        damage(exported / GRAPH_FILE, build_graph(network.config, weights_of(network), "float32"))
        with pytest.raises(SentimentError, match=said) as error:
            opened(exported)
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize("change", STRANGE)
    def test_a_strangers_program_is_not_run(self, exported, change, monkeypatch):
        path = exported / GRAPH_FILE
        model = onnx.load(path)
        change(model.graph)
        noted(path, model.SerializeToString())
        monkeypatch.setattr("onnxruntime.InferenceSession", None)
        with pytest.raises(SentimentError, match="is not the graph that this version"):
            opened(exported)

    @pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
    def test_other_weights_of_the_same_graph_are_run_if_they_are_finite(
        self, checkpoint, exported, dtype
    ):
        network = opened(checkpoint, "torch").network
        config = network.config
        weights = {name: 2 * values for name, values in weights_of(network).items()}
        noted(exported / GRAPH_FILE, build_graph(config, weights, dtype))
        assert opened(exported)("a good film") != opened(checkpoint)("a good film")
        model = onnx.load(exported / GRAPH_FILE)
        for tensor in model.graph.initializer:
            if tensor.name == "linear.bias":
                kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
                tensor.raw_data = np.full(tensor.dims, np.nan, dtype=kind).tobytes()
        noted(exported / GRAPH_FILE, model.SerializeToString())
        with pytest.raises(SentimentError, match="not finite"):
            opened(exported)

    @pytest.mark.parametrize("name", CHANGES)
    def test_another_configuration_or_tokenizer_is_not_taken_for_the_graphs(
        self, run, exported, name
    ):
        CHANGES[name](exported)
        with pytest.raises(SentimentError, match=f"model.onnx belongs to another {name}"):
            opened(exported)
        result = run("predict", "a good film", "--model", exported)
        assert result.exit_code == 2
        assert not result.stdout
        assert result.stderr.count("\n") == 1

    def test_the_layout_of_its_files_makes_no_other_export(self, exported):
        expected = opened(exported)(TEXTS)
        for name in CHANGES:
            values = json.loads((exported / name).read_text())
            (exported / name).write_text(json.dumps(dict(reversed(values.items()))))
        assert opened(exported)(TEXTS) == expected

    def test_an_export_of_an_earlier_version_still_loads(self, exported):
        expected = opened(exported)(TEXTS)
        values = json.loads((exported / CONFIG_FILE).read_text())
        assert set(values.pop("onnx_checksums")) == {*CHANGES}
        (exported / CONFIG_FILE).write_text(json.dumps(values))
        assert opened(exported)(TEXTS) == expected

    def test_checksums_that_are_none_are_one_sentence(self, exported):
        values = json.loads((exported / CONFIG_FILE).read_text())
        (exported / CONFIG_FILE).write_text(json.dumps({**values, "onnx_checksums": [1]}))
        with pytest.raises(SentimentError, match="onnx_checksums"):
            opened(exported)
