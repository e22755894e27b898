"""Other tools that read our files have the accuracy that `evaluate` measures."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import web_page
from web_page import ROWS, link

from sentiment_hf import SentimentPipeline, evaluate
from sentiment_hf.export.onnx_folder import export_onnx
from sentiment_hf.export.transformers_folder import export_transformers

address = web_page.address
exported = web_page.exported
host = web_page.host
visit = web_page.visit

pytestmark = pytest.mark.slow


class TestAccuracyOfOtherTools:
    """What `evaluate` says of the sample corpus, others find too."""

    @pytest.fixture(scope="class")
    def expected(self) -> float:
        return round(evaluate("sample")["accuracy"], 4)

    @pytest.fixture(scope="class")
    def rows(self):
        return ROWS[:100]

    def accuracy(self, rows, labels) -> float:
        right = [row["label"] == label for row, label in zip(rows, labels, strict=True)]
        return round(sum(right) / len(rows), 4)

    def test_the_registered_pipeline_of_transformers(self, expected, rows, tmp_path):
        import transformers

        import sentiment_hf.transformers  # noqa: F401

        SentimentPipeline.from_pretrained().save_pretrained(tmp_path / "reference")
        pipe = transformers.pipeline("text-classification", model=str(tmp_path / "reference"))
        answers = pipe([row["text"] for row in rows])
        assert self.accuracy(rows, [one["label"] for one in answers]) == expected

    def test_transformers_alone_on_the_export(self, expected, rows, tmp_path):
        folder = export_transformers(None, tmp_path / "exported")
        code = (
            "import json, sys; from transformers import pipeline\n"
            "pipe = pipeline('text-classification', model='.', trust_remote_code=True)\n"
            "print(json.dumps([one['label'] for one in pipe(json.load(sys.stdin))]))"
        )
        finished = subprocess.run(
            [sys.executable, "-c", code], input=json.dumps([row["text"] for row in rows]),
            capture_output=True, text=True, cwd=folder, check=True, timeout=600,
            env={**os.environ, "HF_HOME": str(tmp_path / "home")},
        )  # fmt: skip
        assert self.accuracy(rows, json.loads(finished.stdout.splitlines()[-1])) == expected

    def test_onnxruntime_alone(self, expected, rows, tmp_path):
        import onnxruntime
        import tokenizers

        folder = export_onnx(None, tmp_path / "exported")
        tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        session = onnxruntime.InferenceSession(folder / "onnx/model.onnx")
        names = json.loads((folder / "config.json").read_text())["id2label"]
        labels = []
        for row in rows:
            ids = np.array([tokenizer.encode(row["text"]).ids], dtype=np.int64)
            inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
            labels.append(names[str(session.run(["logits"], inputs)[0].argmax())])
        assert self.accuracy(rows, labels) == expected

    def test_the_page(self, expected, rows, visit):
        here = visit(link(rows[0]["text"]))
        labels = []
        for row in rows:
            here.open_link(row["text"])
            labels.append(here.answer()[0])
            assert here.page.input_value("#text") == row["text"]
        assert self.accuracy(rows, labels) == expected
