"""ONNX: the same answers without torch, in one file that checks itself."""

import itertools
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from datasets import Dataset

import sentiment_hf.backend
from sentiment_hf import SentimentError, SentimentPipeline, evaluate
from sentiment_hf.annotation import annotate
from sentiment_hf.checkpoint.folder import CONFIG_FILE, TOKENIZER_FILE
from sentiment_hf.checkpoint.weights import write_encoder
from sentiment_hf.data.batching import cut
from sentiment_hf.export import onnx_folder
from sentiment_hf.export.onnx import build_graph
from sentiment_hf.export.onnx_folder import GRAPH_FILE, export_onnx

POOLINGS = ["last", "mean", "max", "mean_max"]
LENGTHS = [3, 0, 9, 1, 14, 6]
TEXTS = ["a good film", "", "cold [PAD]", "not a bad film , " * 300, "unheard ½ 😀 \ud800"]


def weights_of(network) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in network.state_dict().items()}


def size_of(network, dtype) -> int:
    return len(build_graph(network.config, weights_of(network), dtype))


def graph_of(network, dtype="float32"):
    graph = build_graph(network.config, weights_of(network), dtype)
    session = onnxruntime.InferenceSession(graph)
    return lambda ids, mask: session.run(
        ["logits"], {"input_ids": ids.numpy(), "attention_mask": mask.numpy()}
    )[0]


def sharpened(network):
    with torch.no_grad():  # So that texts differ as after a training.
        for weights in network.parameters():
            weights.mul_(3)
    return network.eval()


def padded(rows, side, seq=16):
    """Ids and mask `(batch, seq)`; with `between`, padding stands in the middle of each text."""
    ids, mask = torch.full((len(rows), seq), 7), torch.zeros(len(rows), seq, dtype=torch.long)
    for line, row in enumerate(rows):
        count = len(row)
        places = {
            "right": range(count),
            "left": range(seq - count, seq),
            "between": [*range(count // 2), *range(seq - count + count // 2, seq)],
        }[side]
        ids[line, list(places)] = torch.as_tensor(row, dtype=torch.long)
        mask[line, list(places)] = 1
    return ids, mask


def expected_logits(network, rows):
    """What torch answers to each text alone, cut as prediction cuts it."""
    answers = []
    for row in rows:
        ids = torch.as_tensor(cut(row, network.config.max_length), dtype=torch.long)[None]
        logits = network(ids, torch.ones_like(ids)) / network.config.temperature
        answers.append([0, logits.item()] if network.config.num_labels == 2 else logits[0].tolist())
    return np.array(answers)


def some_rows(seed=0):
    dice = np.random.default_rng(seed)
    return [dice.integers(2, 12, length) for length in LENGTHS]


@pytest.mark.parametrize("side", ["right", "left", "between"])
@pytest.mark.parametrize(
    ("pooling", "bidirectional", "layers", "labels"),
    itertools.product(POOLINGS, [True, False], [1, 3], [2, 4]),
)
@torch.inference_mode()
def test_the_graph_answers_as_torch_does_to_each_text_alone(
    make_network, pooling, bidirectional, layers, labels, side
):
    network = sharpened(
        make_network(
            labels=labels, pooling=pooling, bidirectional=bidirectional, num_layers=layers,
            max_length=8, temperature=0.7, dropout=0.5, word_dropout=0.5, embedding_dropout=0.5,
        )
    )  # fmt: skip
    rows, answer = some_rows(), graph_of(network)
    expected = expected_logits(network, rows)
    assert expected.std(axis=0).max() > 0.05
    np.testing.assert_allclose(answer(*padded(rows, side)), expected, atol=1e-5)
    for row, one in zip(rows, expected):
        np.testing.assert_allclose(answer(*padded([row], side))[0], one, atol=1e-5)


@pytest.mark.parametrize("max_length", [1, 2, 5, 8, 200, None])
@torch.inference_mode()
def test_the_graph_keeps_head_and_tail_of_a_longer_text(make_network, max_length):
    network = sharpened(make_network(max_length=max_length))
    rows = some_rows()
    answers = graph_of(network)(*padded(rows, "right"))
    np.testing.assert_allclose(answers, expected_logits(network, rows), atol=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize(("batch", "seq"), [(1, 0), (3, 0), (2, 1), (2, 5)])
@torch.inference_mode()
def test_a_text_may_have_no_words(make_network, pooling, batch, seq):
    network = sharpened(make_network(pooling=pooling))
    nothing = torch.zeros(batch, seq, dtype=torch.long)
    answers = graph_of(network)(nothing, nothing)
    expected = expected_logits(network, [np.array([1])] * batch)
    np.testing.assert_allclose(answers, expected, atol=1e-5)


@torch.inference_mode()
def test_float16_weights_are_stored_in_half_the_bytes_and_answer_the_same(make_network):
    network = sharpened(make_network(hidden_size=64)).half().float()
    sizes = [
        len(build_graph(network.config, weights_of(network), d)) for d in ("float16", "float32")
    ]
    assert sizes[0] < 0.6 * sizes[1]
    batch = padded(some_rows(), "right")
    np.testing.assert_array_equal(graph_of(network, "float16")(*batch), graph_of(network)(*batch))


@torch.inference_mode()
def test_int8_is_smaller_still_and_close(make_network):
    network = sharpened(make_network(hidden_size=64, num_layers=2))
    assert size_of(network, "int8") < 0.7 * size_of(network, "float16")
    batch = padded(some_rows(), "left")
    difference = abs(graph_of(network, "int8")(*batch) - graph_of(network)(*batch))
    assert 0 < difference.max() < 0.1


def test_the_shapes_of_the_weights_are_those_of_the_network(make_network):
    for pooling, directions, layers, labels in itertools.product(
        POOLINGS, [True, False], [1, 2], [2, 3]
    ):
        network = make_network(
            pooling=pooling, bidirectional=directions, num_layers=layers, labels=labels
        )
        shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
        assert network.config.weight_shapes() == shapes


@pytest.fixture(params=[2, 3], ids=["2 labels", "3 labels"])
def checkpoint(request, make_pipeline, tmp_path) -> Path:
    names = {i: f"label {i}" for i in range(request.param)}
    pipe = make_pipeline(id2label=names, num_layers=2, max_length=100, temperature=1.3)
    sharpened(pipe.network)
    pipe.save_pretrained(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


@pytest.fixture
def exported(checkpoint, tmp_path) -> Path:
    return export_onnx(checkpoint, tmp_path / "exported")


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path) -> Path:
    monkeypatch.setattr("huggingface_hub.constants.HF_ASSETS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def opened(model, backend="onnx", **options) -> SentimentPipeline:
    return SentimentPipeline.from_pretrained(model, backend=backend, **options)


@pytest.fixture
def uninstalled(monkeypatch):
    """Makes packages look as if they were not installed."""

    def hide(*names: str) -> None:
        for name in names:
            if name != "torch":  # Which is in use by the tests themselves.
                monkeypatch.setitem(sys.modules, name, None)
        found = sentiment_hf.backend.find_spec
        monkeypatch.setattr(
            sentiment_hf.backend, "find_spec", lambda name: None if name in names else found(name)
        )

    return hide


class TestBackend:
    @pytest.mark.parametrize("batch_size", [None, 1, 2])
    def test_a_checkpoint_and_its_export_answer_as_torch_does(
        self, checkpoint, exported, batch_size
    ):
        expected = opened(checkpoint, "torch")
        for model in (checkpoint, exported):
            pipe = opened(model)
            assert pipe.backend == "onnx"
            assert pipe.label_names == expected.label_names
            for question in ("logits", "probabilities"):
                found = getattr(pipe, question)(TEXTS, batch_size=batch_size)
                np.testing.assert_allclose(found, getattr(expected, question)(TEXTS), atol=1e-5)
            answers = pipe(TEXTS, top_k=None)
            for one, other in zip(answers, expected(TEXTS, top_k=None), strict=True):
                assert [a["label"] for a in one] == [a["label"] for a in other]
            assert pipe(TEXTS[0]) == pipe(TEXTS[:1])
            assert pipe([]) == []

    def test_many_texts_keep_their_order_in_several_threads(self, checkpoint, monkeypatch):
        monkeypatch.setenv("OMP_NUM_THREADS", "3")
        monkeypatch.setattr("sentiment_hf.model.onnx_network.WORDS_PER_BATCH", 50)
        dice = np.random.default_rng(0)
        texts = [TEXTS[i] for i in dice.integers(0, len(TEXTS), 500)]
        expected = opened(checkpoint, "torch").probabilities(texts)
        np.testing.assert_allclose(opened(checkpoint).probabilities(texts), expected, atol=1e-5)

    def test_evaluating_and_annotating_give_what_torch_gives(self, checkpoint, exported, tmp_path):
        names = opened(checkpoint, "torch").label_names
        rows = Dataset.from_dict({"text": TEXTS[:4], "label": [names[i] for i in (0, 1, 1, 0)]})
        found, expected = (
            evaluate(rows, model, split="train", backend=backend)
            for model, backend in ((exported, "onnx"), (checkpoint, "torch"))
        )
        assert found["confusion_matrix"] == expected["confusion_matrix"]
        for metric in ("accuracy", "f1", "log_loss", "ece"):
            assert found[metric] == pytest.approx(expected[metric], abs=1e-4)
        scores = []
        for backend in ("torch", "onnx"):
            out = annotate(rows, tmp_path / backend, model=checkpoint, backend=backend)
            scores.append(Dataset.from_parquet(str(out / "data/*.parquet"))["predicted_score"])
        np.testing.assert_allclose(*scores, atol=1e-5)
        with pytest.raises(SentimentError, match="`backend` is 'torch', not 'onnx'"):
            annotate(rows, tmp_path / "torch", model=checkpoint, backend="onnx")
        with pytest.raises(SentimentError, match="`save`"):
            evaluate(rows, exported, split="train", backend="onnx", save=True)

    def test_other_processes_get_the_whole_network(self, checkpoint, exported):
        pipe = opened(exported)
        copy = pickle.loads(pickle.dumps(pipe))
        assert copy(TEXTS) == pipe(TEXTS)
        assert copy.checksum() == pipe.checksum() != opened(checkpoint, "torch").checksum()
        rows = Dataset.from_dict({"text": TEXTS[:2] * 4})
        labelled = rows.map(pipe.annotate, batched=True, num_proc=2)
        np.testing.assert_allclose(labelled["predicted_score"], pipe.best(rows["text"])[1])

    @pytest.mark.parametrize(
        "arguments",
        [
            ["predict", "a good film", "--model", "checkpoint"],
            ["predict", "a good film", "--model", "exported"],
            ["evaluate", "data.csv", "--split", "train", "--model", "checkpoint"],
            ["annotate", "data.csv", "--output", "out", "--model", "exported"],
        ],
        ids=lambda arguments: f"{arguments[0]} {arguments[-1]}",
    )
    @pytest.mark.parametrize("checkpoint", [2], indirect=True)
    def test_the_command_does_without_torch(self, exported, arguments):
        (exported.parent / "data.csv").write_text("text,label\na film,label 0\nb,label 1\n")
        script = (
            "import sys; from sentiment_hf.cli import main\n"
            "try: main()\nexcept SystemExit as end: print(end.code, 'torch' in sys.modules)"
        )
        finished = subprocess.run(
            [sys.executable, "-c", script, *arguments], capture_output=True, text=True,
            cwd=exported.parent, timeout=120, check=False,
            env={**os.environ, "HF_HOME": str(exported.parent / "home")},
        )  # fmt: skip
        assert finished.stdout.endswith("0 False\n"), finished.stdout + finished.stderr

    def test_torch_is_chosen_by_name_or_by_what_is_asked_for(
        self, checkpoint, exported, uninstalled
    ):
        assert opened(checkpoint, "torch").backend == "torch"
        assert opened(checkpoint, "auto", device="cpu").backend == "torch"
        assert opened(checkpoint, "auto", dtype="bfloat16").backend == "torch"
        assert opened(checkpoint, "auto").backend == "onnx"
        assert opened(exported, "auto", device="cpu").backend == "onnx"
        uninstalled("onnx")
        assert opened(checkpoint, "auto").backend == "torch"
        assert opened(exported, "auto").backend == "onnx"

    def test_the_commands_say_what_they_choose_by_themselves(self, run):
        for command in ("predict", "annotate", "evaluate"):
            told = " ".join(run(command, "--help").stdout.split())
            assert "--backend [auto|onnx|torch]" in told
            assert "onnx" in told.partition("auto:")[2]

    def test_what_needs_the_torch_network_names_the_way(self, exported, tmp_path):
        pipe = opened(exported)
        for ask in (
            pipe.trace, pipe.trajectory, pipe.explain,
            lambda _: pipe.save_pretrained(tmp_path / "saved"),
            lambda _: pipe.push_to_hub("ann/film"),
        ):  # fmt: skip
            with pytest.raises(SentimentError, match="`backend` 'torch'"):
                ask("a good film")

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            (["--device", "cuda"], "--device.*--backend 'torch'"),
            (["--dtype", "bfloat16"], "--dtype.*--backend 'torch'"),
            (["--backend", "abacus"], "abacus"),
        ],
    )
    def test_what_the_backend_cannot_do_is_one_sentence(self, run, exported, options, said):
        result = run("predict", "a", "--model", exported, "--backend", "onnx", *options)
        assert result.exit_code == 2
        assert re.search(said, result.stderr)
        assert result.stderr.count("\n") == 1
        with pytest.raises(SentimentError, match=r"abacus.*auto, onnx, torch"):
            opened(exported, "abacus")
        assert "--backend 'onnx'" in run("inspect", "a", "--model", exported).stderr

    def test_where_torch_is_not_installed_its_backend_says_so(self, checkpoint, uninstalled):
        uninstalled("torch")
        assert opened(checkpoint, "auto").backend == "onnx"
        with pytest.raises(SentimentError, match="torch is not installed"):
            opened(checkpoint, "torch")

    @pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
    def test_a_missing_package_names_what_to_install(self, checkpoint, uninstalled, package):
        uninstalled(package)
        with pytest.raises(SentimentError, match=r"pip install 'sentiment-hf\[onnx\]'"):
            opened(checkpoint)


def swap_labels(folder: Path) -> None:
    values = json.loads((folder / CONFIG_FILE).read_text())
    names = [*values["id2label"].values()][::-1]
    values["id2label"] = {str(i): name for i, name in enumerate(names)}
    values["label2id"] = {name: i for i, name in enumerate(names)}
    (folder / CONFIG_FILE).write_text(json.dumps(values))


def swap_words(folder: Path) -> None:
    content = json.loads((folder / TOKENIZER_FILE).read_text())
    ids = content["model"]["vocab"]
    ids["good"], ids["bad"] = ids["bad"], ids["good"]
    (folder / TOKENIZER_FILE).write_text(json.dumps(content))


CHANGES = {CONFIG_FILE: swap_labels, TOKENIZER_FILE: swap_words}


class TestCache:
    def test_a_graph_is_built_once_for_each_content_of_a_checkpoint(
        self, checkpoint, cache, monkeypatch, make_pipeline
    ):
        expected = opened(checkpoint)(TEXTS)
        with monkeypatch.context() as patch:
            patch.setattr(onnx_folder.onnx, "build_graph", None)
            copied = shutil.copytree(checkpoint, checkpoint.with_name("copied"))
            assert opened(copied)(TEXTS) == expected
        network = opened(checkpoint, "torch").network.config
        names, sizes = network.id2label, {"num_layers": 2, "max_length": 100, "temperature": 1.3}
        make_pipeline(seed=1, id2label=names, **sizes).save_pretrained(checkpoint)
        assert opened(checkpoint)(TEXTS) != expected
        assert len(list(cache.rglob("*.onnx"))) == 2

    def test_a_damaged_graph_in_the_cache_is_built_again(self, checkpoint, cache):
        expected = opened(checkpoint)(TEXTS)
        (path,) = cache.rglob("*.onnx")
        whole = path.read_bytes()
        path.write_bytes(whole[:-9])
        assert opened(checkpoint)(TEXTS) == expected
        assert path.read_bytes() == whole

    @pytest.mark.parametrize("name", [CONFIG_FILE, TOKENIZER_FILE])
    def test_what_torch_refuses_is_refused_where_a_graph_is_in_the_cache(self, checkpoint, name):
        changed = shutil.copytree(checkpoint, checkpoint.with_name("changed"))
        CHANGES[name](changed)
        for cached in (False, True):
            if cached:
                opened(checkpoint)
            for backend in ("torch", "onnx"):
                with pytest.raises(SentimentError, match=f"belongs to another {name}"):
                    opened(changed, backend)

    def test_a_cache_that_cannot_be_written_is_done_without(self, checkpoint, cache):
        cache.write_text("a file in its place")
        assert opened(checkpoint)(TEXTS)


def noted(path: Path, content: bytes) -> None:
    """Puts something else in the place of a graph, and its checksum into the configuration."""
    path.write_bytes(content)
    config = path.parent.parent / CONFIG_FILE
    values = json.loads(config.read_text())
    config.write_text(json.dumps({**values, "onnx_sha256": onnx_folder._sha256(content)}))


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
            (lambda graph, other: noted(graph, b"no graph"), "cannot be run"),
            (noted, "not one of this checkpoint's"),
        ],
        ids=["none", "cut", "empty", "another's", "no graph", "of other labels"],
    )
    def test_a_graph_that_does_not_fit_is_not_loaded(self, exported, make_network, damage, said):
        network = make_network(labels=5)
        damage(exported / GRAPH_FILE, build_graph(network.config, weights_of(network), "float32"))
        with pytest.raises(SentimentError, match=said) as error:
            opened(exported)
        assert "\n" not in str(error.value)

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
