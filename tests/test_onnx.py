"""The ONNX backend: the answers of torch without torch, from a graph that is built once."""

import os
import pickle
import re
import shutil
import subprocess
import sys

import numpy as np
import onnx_checkpoints
import pytest
from datasets import Dataset
from onnx_checkpoints import CHANGES, TEXTS, opened

import sentiment_hf.backend
from sentiment_hf import SentimentError, evaluate
from sentiment_hf.annotation import annotate
from sentiment_hf.checkpoint.folder import CONFIG_FILE, TOKENIZER_FILE
from sentiment_hf.export import onnx_folder

cache = onnx_checkpoints.cache
checkpoint = onnx_checkpoints.checkpoint
exported = onnx_checkpoints.exported


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
            env=os.environ | {name: str(exported.parent / "home") for name in ("HOME", "HF_HOME")},
        )  # fmt: skip
        assert finished.stdout.endswith("0 False\n"), finished.stdout + finished.stderr
        # ONNX Runtime numbers no machine, and reports nothing.
        assert not [*(exported.parent / "home").rglob("*icrosoft*")]

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
        with pytest.raises(SentimentError, match=r"pip install 'sentiment-hf\[onnx\]'"):
            opened(exported, "auto")

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
