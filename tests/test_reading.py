"""Between the layers: true steps, trajectory and explanation; in a terminal, as JSON and a page."""

import contextlib
import json
import os
import pty
import random
import re
import runpy
import sys
import time
from dataclasses import FrozenInstanceError
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn, ones
from torch.nn.utils.rnn import pack_padded_sequence
from torch.testing import assert_close

from sentiment_hf import SentimentError, SentimentPipeline, load_reviews
from sentiment_hf.cli import main
from sentiment_hf.reading import trace
from sentiment_hf.reading.terminal import render_trajectory
from sentiment_hf.reading.trajectory import Point

SCRIPT = Path(__file__).parents[1] / "scripts" / "read_between_the_layers.py"
KEYS = ["name", "what", "input_shape", "output_shape", "axes", "dtype", "parameters", "values"]
STATE_AXES = ("layer", "batch")
TEXTS = ["a good film", "cold", "not a bad film , warm and good"]  # As many as a step shows.
LONG = "not a bad film , warm and good and cold zebra"
FOUR = {"id2label": dict(enumerate(["bad", "poor", "good", "great"]))}
ARTICLE = {"bidirectional": False, "pooling": "last", "max_length": 9}
CONFIGURATIONS = {
    "article": ARTICLE,
    "article, uncut, 2 layers": {**ARTICLE, "max_length": None, "num_layers": 2},
    "article, temperature": {**ARTICLE, "temperature": 1.7},
    "article, 4 labels": {**ARTICLE, **FOUR, "temperature": 0.7},
    "forward mean": {"bidirectional": False, "pooling": "mean"},
    "forward max, 3 layers": {"bidirectional": False, "pooling": "max", "num_layers": 3},
    "both last, 2 layers": {"pooling": "last", "num_layers": 2, "temperature": 2.5},
    "both max, 4 labels": {"pooling": "max", **FOUR},
    "both mean_max, cut": {"max_length": 5},
    "both mean_max, 2 layers, 4 labels": {"num_layers": 2, **FOUR, "temperature": 0.6},
}


@pytest.fixture
def make(make_pipeline):
    def sharpened(**fields) -> SentimentPipeline:
        pipe = make_pipeline(**{"hidden_size": 6, **fields})
        with torch.no_grad():  # So that every word moves the answer, as after a training.
            pipe.network.embedding.weight.mul_(4)
            pipe.network.linear.weight.mul_(10)
        return pipe

    return sharpened


@pytest.fixture(params=CONFIGURATIONS.values(), ids=list(CONFIGURATIONS))
def pipe(request, make) -> SentimentPipeline:
    return make(**request.param)


def cut(row: list, most: int | None) -> list:
    return row if most is None or len(row) <= most else row[: most // 4] + row[most // 4 - most :]


def ids_of(pipe: SentimentPipeline, text: str) -> list[int]:
    return cut(pipe.tokenizer.encode(text).ids, pipe.config.max_length)


@torch.no_grad()
def answer(pipe: SentimentPipeline, ids: list[int]) -> torch.Tensor:
    return pipe.network.probabilities(pipe.network(torch.tensor([ids or [1]])))[0]


# Steps of our own network


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


# Steps of any module


class Named(nn.Module):
    """Dictionaries in and out, a layer called twice, another by keyword."""

    def __init__(self):
        super().__init__()
        self.twice, self.other = nn.Linear(3, 3), nn.Linear(3, 2)

    def forward(self, values):
        return {"scores": self.other(input=self.twice(self.twice(values["x"])))}


def convolutional() -> nn.Module:
    return nn.Sequential(nn.Conv1d(3, 4, 2), nn.LayerNorm(4), nn.GRU(4, 5, batch_first=True))


MODULES = {
    "linear": (nn.Linear(3, 2), ones(4, 3), [("Linear", (4, 3), (4, 2), 8)]),
    "sequence": (convolutional(), ones(2, 3, 5), [
        ("0", (2, 3, 5), (2, 4, 4), 28), ("1", (2, 4, 4), (2, 4, 4), 8),
        ("2", (2, 4, 4), (2, 4, 5), 165), ("2 final hidden state", (2, 4, 4), (1, 2, 5), 0),
    ]),
    "dictionaries": (Named(), {"x": ones(4, 3)}, [
        ("twice", (4, 3), (4, 3), 12), ("twice", (4, 3), (4, 3), 12), ("other", (4, 3), (4, 2), 8),
    ]),
}  # fmt: skip


@pytest.mark.parametrize(("module", "given", "expected"), MODULES.values(), ids=list(MODULES))
def test_any_module_gives_one_step_for_each_call_of_a_layer_in_order(module, given, expected):
    steps = trace(module, given)
    assert [(s.name, s.input_shape, s.output_shape, s.parameters) for s in steps] == expected
    assert all(len(step.axes) == len(step.output_shape) for step in steps)


def test_the_attention_of_a_transformer_is_a_step():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    steps = trace(layer, torch.randn(2, 3, 8))
    names = [step.name for step in steps if "dropout" not in step.name]
    assert names[0].startswith("self_attn")
    assert names[-4:] == ["norm1", "linear1", "linear2", "norm2"]
    assert sum(step.parameters for step in steps) == sum(p.numel() for p in layer.parameters())


def test_final_states_have_layers_on_their_first_axis_from_packed_sequences_too():
    rows = ones(2, 3, 3)
    for given in (rows, pack_padded_sequence(rows, torch.tensor([3, 1]), batch_first=True)):
        steps = {step.name: step for step in trace(nn.LSTM(3, 4, batch_first=True), given)}
        for name in ("LSTM final hidden state", "LSTM final cell state"):
            assert (steps[name].output_shape, steps[name].axes[:2]) == ((1, 2, 4), STATE_AXES)


def test_a_value_is_what_came_out_even_if_the_next_layer_overwrites_it():
    torch.manual_seed(0)
    linear = nn.Linear(3, 6)
    first = trace(nn.Sequential(linear, nn.ReLU(inplace=True)), ones(1, 3))[0]
    assert_close(torch.tensor(first.values), linear(ones(1, 3)))


@pytest.mark.parametrize("length", [5, 99], ids=["done", "failed"])
def test_a_module_is_left_as_it_was(length):
    module = convolutional().train()
    module[1].eval()  # As a layer that is kept frozen.
    with contextlib.suppress(RuntimeError):
        trace(module, ones(2, 3 if length == 5 else 4, length))
    assert [part.training for part in module] == [True, False, True]
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())


# Trajectory


@pytest.mark.parametrize("temperature", [1.0, 1.7])
def test_the_row_of_the_articles_grid_is_the_trajectory(make, temperature):
    pipe = make(**ARTICLE | {"max_length": 6, "temperature": temperature})
    points = torch.tensor([p.probability for p in pipe.trajectory("not a good film , warm")])
    (row,) = pipe.trace(["not a good film , warm"])[-2].values
    assert_close(torch.tensor(row), points, atol=1e-5, rtol=0)
    assert points.std() > 0.01


def test_a_trajectory_is_the_answer_to_every_prefix(pipe):
    text = "Not a GOOD film,\n warm and zebra. It isn't bad ! and cold"
    words = ["Not", "a", "GOOD", "film", ",", "warm", "and", "zebra", ".", "It", "is", "n't"]
    ends = [end for _, end in pipe.tokenizer.encode(text).offsets]
    points, names = pipe.trajectory(text), pipe.config.label_names
    assert [point.word for point in points] == [*words, "bad", "!", "and", "cold"]
    label = names[1] if len(names) == 2 else pipe(text)[0]["label"]
    for point, end in zip(points, ends, strict=True):
        scores = {one["label"]: one["score"] for one in pipe(text[:end], top_k=None)}
        assert point.probability == pytest.approx(scores[label], abs=1e-5)


def test_five_thousand_words_give_two_hundred_points_evenly_spaced_that_cover_the_text(make):
    pipe, dice = make(), random.Random(0)
    words = dice.choices(["good", "bad", "zebra", "not", "film"], k=5000)
    points = pipe.trajectory(" ".join(words))
    assert " ".join(point.word for point in points) == " ".join(words)
    counts = [len(point.word.split()) for point in points]
    assert len(points) == 200
    assert counts[0] <= max(counts) <= min(counts[1:]) + 1
    for number, read in list(enumerate(np.cumsum(counts)))[199::-33]:
        expected = answer(pipe, ids_of(pipe, " ".join(words[:read])))[1]
        assert points[number].probability == pytest.approx(float(expected), abs=1e-5)


def test_the_trajectory_of_two_hundred_words_takes_well_under_a_second(make):
    pipe, threads, seconds = make(embedding_dim=128, hidden_size=128), torch.get_num_threads(), []
    torch.set_num_threads(1)
    for _ in range(3):
        start = time.process_time()  # Other jobs on the processor do not count.
        assert len(pipe.trajectory("a good film and " * 50)) == 200
        seconds.append(time.process_time() - start)
    torch.set_num_threads(threads)
    assert min(seconds) < 1


# Explanation


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


# The command: terminal, JSON, page and figure


class Page(HTMLParser):
    """Tags with their attributes, the shaded words, and all text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags, self.words, self.text, self.open = [], [], "", False
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.open = tag == "span" and "title" in dict(attrs)
        self.words += [""] * self.open

    def handle_endtag(self, tag):
        self.open = False

    def handle_data(self, data):
        self.text += data
        if self.open:
            self.words[-1] += data

    def fetches_and_runs_nothing(self) -> bool:
        names = {name for tag, attrs in self.tags for name in (tag, *attrs)}
        forbidden = {"script", "img", "link", "iframe", "object", "embed", "base", "form"}
        forbidden |= {"src", "srcset", "href", "xlink:href", "action", "data"}
        run = [name for name in names if name.startswith("on")]
        return not (names & forbidden or run or re.search(r"url\(|@import", self.source))


HTML = """<script>alert("1")</script> & <img src='http://x.org/a.png' onerror=alert(1)> </p>"""
ODD_TEXTS = {
    "empty": "",
    "5,000 words": "good bad not film zebra " * 1000,
    "emoji": "😀 good 👩‍👩‍👧 film ❤️🇫🇷",
    "right-to-left": "فيلم جيد جدا, good film",
    "HTML": HTML,
    "long HTML": f"{HTML} " * 50,
    "only unknown words": "zebra giraffe",
    "a sign that is read as three": "2½ stars, ½ good",
}


@pytest.mark.parametrize("text", ODD_TEXTS.values(), ids=list(ODD_TEXTS))
def test_every_text_is_shown_sensibly_everywhere(make_pipeline, run, tmp_path, text):
    make_pipeline(max_length=60).save_pretrained(tmp_path / "model")
    asked = ["inspect", "--model", tmp_path / "model", "--trajectory", "--explain"]
    result = run(*asked, "--html", tmp_path / "page.html", "--json", "--", text)
    assert (result.exit_code, result.stderr) == (0, "")
    steps, (reading,) = json.loads(result.stdout).values()
    assert list(reading) == ["text", "label", "score", "trajectory", "explanation"]
    assert reading["text"] == text
    words = [point["word"] for point in reading["trajectory"]]
    assert "".join("".join(words).split()) == "".join(text.split())

    page, verdict = Page(tmp_path / "page.html"), f"{reading['label']} {reading['score']:.2f}"
    assert page.fetches_and_runs_nothing()
    assert page.words == words + reading["explanation"]["words"]
    assert verdict in page.text
    assert " ".join(text.split()) in " ".join(page.text.split())
    for step in steps:
        assert step["name"] in page.text
        assert json.dumps(step["values"]) in page.text
    points = next(attrs["points"] for tag, attrs in page.tags if tag == "polyline").split()
    heights = [100 - float(point.split(",")[1]) for point in points]
    expected = [100 * point["probability"] for point in reading["trajectory"]]
    assert heights == pytest.approx(expected if len(expected) > 1 else expected * 2, abs=0.01)

    shown = run(*asked, "--", text)
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert " ".join(" ".join(words).split()) in " ".join(shown.stdout.split())
    assert verdict in shown.stdout


def test_a_lone_surrogate_is_read_as_the_replacement_character(checkpoint, run):
    asked = ["inspect", "--model", checkpoint, "--trajectory", "--explain", "--json"]
    result = run(*asked, "good \udcff film")
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout) == json.loads(run(*asked, "good \ufffd film").stdout)


def test_json_and_terminal_are_renderings_of_the_steps(make_pipeline, checkpoint, run):
    pipe = make_pipeline()
    steps = [step.to_dict() for step in pipe.trace(TEXTS)]
    seen = json.loads(run("inspect", *TEXTS, "--model", checkpoint, "--json").stdout)
    assert seen["steps"] == json.loads(json.dumps(steps))
    assert all(list(step) == KEYS for step in seen["steps"])
    assert seen["texts"] == [{"text": t, **a} for t, a in zip(TEXTS, pipe(TEXTS))]
    shown = run("inspect", *TEXTS, "--model", checkpoint).stdout
    places = [shown.index(f"{number}. {step['name']}\n") for number, step in enumerate(steps)]
    assert places == sorted(places)
    assert "(3, 8) -> (3, 8, 5) = batch 3 x sequence 8 x embedding 5, float32" in shown


def test_a_page_shows_each_text_with_its_own_label_and_escapes_the_labels(make, run, tmp_path):
    pipe = make(id2label={0: "<b>bad</b>", 1: 'po"or', 2: "good", 3: "great"})
    pipe.save_pretrained(tmp_path / "model")
    run("inspect", *TEXTS, "--model", tmp_path / "model", "--html", tmp_path / "page.html")
    page, labels = Page(tmp_path / "page.html"), [one["label"] for one in pipe(TEXTS)]
    assert len(set(labels)) > 1
    assert re.findall("The probability of (.*) after each word", page.text) == labels
    assert " ".join(page.words) == " ".join(TEXTS)
    assert page.fetches_and_runs_nothing()
    assert "http" not in page.source
    assert "b" not in {tag for tag, _ in page.tags}


def test_page_and_figure_may_stand_in_a_new_folder(checkpoint, run, tmp_path):
    files = tmp_path / "new" / "page.html", tmp_path / "new" / "figure.png"
    asked = ["inspect", "good film", "--model", checkpoint]
    result = run(*asked, "--png", files[1], "--html", files[0])
    assert (result.exit_code, result.stderr) == (0, "")
    assert files[1].read_bytes().startswith(b"\x89PNG\r\n")
    assert Page(files[0]).words == ["good", "film"]


@pytest.mark.parametrize("count", [1, 2, 71, 143, 144, 200])
def test_a_line_of_bars_fits_the_terminal_and_ends_at_the_last_answer(count):
    points = [Point("word", 0.01)] * (count - 1) + [Point("word", 0.99)]
    text, bars = render_trajectory(points, ("neg", "pos"), colour=False).splitlines()
    assert text.split() == ["word"] * count
    assert re.match("▁{0,79}█ ", bars)


@pytest.mark.parametrize("no_colour", [False, True], ids=["colour", "NO_COLOR"])
def test_a_terminal_is_coloured_and_a_pipe_or_no_color_is_not(
    checkpoint, run, monkeypatch, no_colour
):
    arguments = ["inspect", "good film", "--trajectory", "--model", str(checkpoint)]
    leader, follower = pty.openpty()
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_colour:
        monkeypatch.setenv("NO_COLOR", "1")
    with os.fdopen(follower, "w", encoding="utf-8") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        with pytest.raises(SystemExit):
            main(arguments)
    shown = b""
    with contextlib.suppress(OSError):  # What Linux says at the end.
        while part := os.read(leader, 4096):
            shown += part
    os.close(leader)
    coloured = re.search(rb"\x1b\[[\d;]+mgood \x1b\[[\d;]+mfilm", shown)
    assert b"film" in shown
    assert (coloured is None, b"\x1b" in shown) == (no_colour, not no_colour)
    assert "\x1b" not in run(*arguments).stdout


def test_a_data_set_is_a_batch_whose_labels_are_the_checkpoints(make, run, tmp_path):
    make(id2label={0: "pos", 1: "neg"}).save_pretrained(tmp_path / "model")
    rows = [f"good row{i},pos\nbad row{i},neg\n" for i in range(30)]
    (tmp_path / "own.csv").write_text("text,label\n" + "".join(rows))
    own = ["inspect", "--model", tmp_path / "model", "--dataset", tmp_path / "own.csv", "--json"]
    for count, options in ((50, []), (4, ["--max-samples", 4])):
        seen = json.loads(run(*own, *options).stdout)
        words, x, y = seen["steps"][:3]
        assert (y["name"], x["output_shape"][0], y["output_shape"]) == ("y", count, [count])
        assert y["values"][:3] == [row[0] != "good" for row in words["values"]]
        assert len(seen["texts"]) == 1


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("good --preset article", "--untrained"),
        ("good --untrained", "--preset"),
        ("good --untrained --preset article --model here", "--model"),
        ("good --untrained --preset nonsense", "nonsense.*article.*fast"),
        ("good --model nowhere", "nowhere"),
        ("--model here --dataset nowhere.csv", "nowhere.csv"),
        ("--model here --dataset unlabelled.csv", "--label-column"),
    ],
)
def test_wrong_usage_is_one_sentence(checkpoint, run, monkeypatch, arguments, named):
    monkeypatch.chdir(checkpoint.parent)
    checkpoint.rename("here")
    Path("unlabelled.csv").write_text("text\ngood film\nbad film\n")
    result = run("inspect", *arguments.split())
    assert (result.exit_code, result.stdout) == (2, "")
    assert re.fullmatch(f"error: .*{named}.*", result.stderr.splitlines()[-1])
    assert "Traceback" not in result.stderr
