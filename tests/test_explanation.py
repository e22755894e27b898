"""What each word contributes to the answer."""

import re
import sys

import pytest
import reading_networks
import torch
from reading_networks import TEXTS, answer, cut, ids_of
from torch.testing import assert_close

from sentiment_hf import SentimentError, SentimentPipeline

make = reading_networks.make
pipe = reading_networks.pipe

LONG = "not a bad film , warm and good and cold zebra"


def test_what_a_word_contributes_is_true_by_either_method(pipe):
    for text in [*TEXTS, LONG]:
        found, ids = pipe.explain(text), ids_of(pipe, text)
        whole = answer(pipe, ids)
        label = int(whole.argmax())
        assert found.label == pipe.config.label_names[label] == pipe(text)[0]["label"]
        assert found.probability == pytest.approx(float(whole[label]), abs=1e-6)
        assert found.words == cut(text.split(), pipe.config.max_length)
        without = torch.stack([answer(pipe, ids[:i] + ids[i + 1 :]) for i in range(len(ids))])
        lost = (whole - without)[:, label]
        assert_close(torch.tensor(found.deletion), lost, atol=1e-5, rtol=0)

        embedded, lengths = pipe.network.embed(torch.tensor([ids]))
        logits = [pipe.network.classify(part * embedded, lengths) for part in (0, 1)]
        risen = logits[1] - logits[0]
        total = float(risen[0, label] if risen.ndim == 2 else risen * (2 * label - 1))
        error = abs(sum(found.gradients) - total) / abs(total)
        assert len(found.gradients) == len(found.words)
        assert found.completeness_error == pytest.approx(error, abs=1e-4)
        assert error < 0.05


def test_explaining_leaves_the_network_as_it_was(make):
    pipe = make(dropout=0.9, word_dropout=0.9)
    expected = pipe.explain(LONG)
    pipe.network.train()
    assert pipe.explain(LONG) == expected
    assert pipe.network.training
    assert all(weight.grad is None for weight in pipe.network.parameters())


def test_without_captum_one_sentence_says_what_to_install(checkpoint, run, monkeypatch):
    for name in ["captum", *(name for name in sys.modules if name.startswith("captum."))]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SentimentError, match=r"captum.*sentiment-hf\[explain\]"):
        SentimentPipeline.from_pretrained(checkpoint).explain("good")
    result = run("inspect", "good", "--model", checkpoint, "--explain")
    assert (result.exit_code, result.stdout) == (2, "")
    assert re.fullmatch("error: .*captum.*\n", result.stderr)
    assert run("inspect", "good", "--model", checkpoint, "--trajectory").exit_code == 0
