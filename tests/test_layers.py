"""The steps of our own network are true, and those of the article for its preset."""

import json
import re
import runpy
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest
import reading_networks
import torch
from reading_networks import ARTICLE, TEXTS, ids_of
from torch import nn
from torch.testing import assert_close

from sentiment_hf import load_reviews

make = reading_networks.make
pipe = reading_networks.pipe

SCRIPT = Path(__file__).parents[1] / "scripts" / "read_between_the_layers.py"


def test_the_article_has_exactly_the_shapes_of_the_article(run):
    result = run("inspect", "--preset", "article", "--untrained", "--json")
    assert result.exit_code == 0
    seen = json.loads(result.stdout)
    words = seen["steps"][3]["output_shape"][0]
    assert words > 1000
    assert [(step["name"], step["output_shape"]) for step in seen["steps"]] == [
        ("text", [50]), ("X", [50, 200]), ("y", [50]), ("embedding.weight", [words, 30]),
        ("embedding", [50, 200, 30]), ("lstm", [50, 200, 512]),
        ("lstm final hidden state", [1, 50, 512]), ("lstm final cell state", [1, 50, 512]),
        ("flattened", [10000, 512]), ("linear", [10000, 1]), ("sigmoid", [10000, 1]),
        ("reshaped", [50, 200]), ("verdict", [50]),
    ]  # fmt: skip
    sample, first = load_reviews("sample")["train"], seen["texts"][0]
    row = sample["text"].index(first["text"])
    assert seen["steps"][2]["values"][0] == sample["label"][row]
    positive = first["score"] if first["label"] == "pos" else 1 - first["score"]
    assert seen["steps"][-1]["values"][0] == pytest.approx(positive, abs=1e-6)


def test_the_script_is_the_article_in_eighty_lines(capsys):
    assert len(SCRIPT.read_text().splitlines()) <= 80
    runpy.run_path(str(SCRIPT), run_name="__main__")
    printed = capsys.readouterr().out
    words = int(re.search(r"Vocabulary size: (\d+)", printed)[1])
    shapes = [json.loads(shape) for shape in re.findall(r"torch\.Size\((\[.*?\])\)", printed)]
    assert shapes == [
        [50, 200], [50], [words, 30], [50, 200, 30], [50, 200, 512], [1, 50, 512], [1, 50, 512],
        [10000, 512], [10000, 1], [10000, 1], [50, 200], [50],
    ]  # fmt: skip
    assert len(re.findall(r"0\.\d+", printed.split("Final sentiment prediction is")[1])) == 50


def true_shapes(config, rows: int, longest: int) -> list[tuple]:
    """Name, input and output of every step, from the sizes alone."""
    vectors, hidden, outputs = config.embedding_dim, config.hidden_size, config.num_outputs
    grid = config.pooling == "last" and not config.bidirectional
    most = config.max_length or longest
    x = (rows, most if grid else min(longest, most))
    squeeze, several = ("sigmoid", ()) if outputs == 1 else ("softmax", (outputs,))
    weight = ("embedding.weight", (), (config.vocab_size, vectors))
    steps = [("text", (), (rows,)), ("X", (rows,), x), weight, ("embedding", x, (*x, vectors))]
    for name in ("lstm", "backward_lstm")[: 1 + config.bidirectional]:
        steps.append((name, (*x, vectors), (*x, hidden)))
        for kind in ("hidden", "cell"):
            steps.append((f"{name} final {kind} state", (), (config.num_layers, rows, hidden)))
    if grid:
        flat = (rows * most, hidden)
        steps += [("flattened", (*x, hidden), flat), ("linear", flat, (flat[0], outputs))]
        steps += [(squeeze, (flat[0], outputs), (flat[0], outputs))]
        steps += [("reshaped", (flat[0], outputs), (*x, *several))]
        return [*steps, ("verdict", (*x, *several), (rows, *several))]
    pooled = (rows, hidden * (1 + config.bidirectional) * (1 + (config.pooling == "mean_max")))
    steps += [("pooling", (*x, hidden), pooled), ("linear", pooled, (rows, outputs))]
    steps += [(squeeze, (rows, outputs), (rows, config.num_labels))]
    return [*steps, ("verdict", (rows, config.num_labels), (rows, *several))]


def test_every_configuration_shows_its_own_true_steps_and_ends_at_the_prediction(pipe):
    steps = pipe.trace(TEXTS)
    shapes = [(step.name, step.input_shape, step.output_shape) for step in steps]
    assert shapes == true_shapes(pipe.config, 3, 8)
    assert all(len(step.axes) == len(step.output_shape) for step in steps)
    assert all(step.what.endswith(".") for step in steps)
    assert sum(s.parameters for s in steps) == sum(p.numel() for p in pipe.network.parameters())
    scores = [{one["label"]: one["score"] for one in pipe(t, top_k=None)} for t in TEXTS]
    expected = torch.tensor([[row[name] for name in pipe.config.label_names] for row in scores])
    expected = expected[:, 1] if pipe.config.num_labels == 2 else expected
    assert expected.std(dim=0).min() > 0.003
    assert_close(torch.tensor(steps[-1].values), expected, atol=1e-6, rtol=0)


def test_final_states_are_those_after_each_rows_own_last_word(pipe):
    steps = {step.name: torch.tensor(step.values) for step in pipe.trace(TEXTS)[1:]}
    for name in ("lstm", "backward_lstm")[: 1 + pipe.config.bidirectional]:
        plain = nn.LSTM(5, 6, num_layers=pipe.config.num_layers, batch_first=True)
        plain.load_state_dict(getattr(pipe.network, name).state_dict())
        for row, text in enumerate(TEXTS):
            ids = ids_of(pipe, text)[:: -1 if name == "backward_lstm" else 1]
            states, (hidden, cell) = plain(pipe.network.embedding(torch.tensor([ids])))
            shown = steps[f"{name} final hidden state"][:, row]
            assert_close(shown, hidden[:, 0], atol=1e-5, rtol=0)
            assert_close(shown[-1], states[0, -1], atol=1e-5, rtol=0)
            assert_close(steps[f"{name} final cell state"][:, row], cell[:, 0], atol=1e-5, rtol=0)


def test_words_stand_before_their_integers_and_an_empty_text_is_one_unknown_word(make):
    pipe = make()
    words, x = pipe.trace(["a good zebra", ""])[:2]
    assert words.values == [["a", "good", "[UNK]"], ["[UNK]"]]
    assert x.values == [[pipe.tokenizer.token_to_id(w) for w in words.values[0]], [1, 0, 0]]


def test_the_articles_grid_shows_words_and_not_only_the_padding_before_them(make):
    steps = make(**{**ARTICLE, "max_length": 200}).trace(["not a bad film"])
    for step in steps[1:]:
        assert len(np.unique(step.values)) > 1 or step.output_shape == (1,), step.name


def test_training_mode_changes_no_step_and_a_step_cannot_be_changed(make):
    pipe = make(num_layers=2, dropout=0.9, word_dropout=0.9)
    steps = pipe.trace(TEXTS)
    pipe.network.train()
    assert pipe.trace(TEXTS) == steps
    assert pipe.network.training
    with pytest.raises(FrozenInstanceError):
        steps[0].name = "another"
