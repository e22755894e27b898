"""Between the layers: true steps, trajectory and explanation; shown in terminal, JSON and page."""

import contextlib
import json
import os
import pty
import random
import re
import runpy
import subprocess
import sys
import time
from dataclasses import FrozenInstanceError
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from sentiment_hf import SentimentError, SentimentPipeline, load_reviews
from sentiment_hf.reading import trace
from sentiment_hf.reading.terminal import render_trajectory
from sentiment_hf.reading.trajectory import Point

SCRIPT = Path(__file__).parents[1] / "scripts" / "read_between_the_layers.py"
TEXTS = ["a good film", "cold", "not a bad film , warm and good"]  # As many as are shown.
STEP_KEYS = "name what input_shape output_shape axes dtype parameters values".split()
FOUR_LABELS = dict(enumerate(["bad", "poor", "good", "great"]))
ARTICLE = {"bidirectional": False, "pooling": "last", "max_length": 9}
CONFIGURATIONS = {
    "article": ARTICLE,
    "article, uncut, 2 layers": {**ARTICLE, "max_length": None, "num_layers": 2},
    "article, temperature": {**ARTICLE, "temperature": 1.7},
    "article, 4 labels": {**ARTICLE, "id2label": FOUR_LABELS, "temperature": 0.7},
    "forward mean": {"bidirectional": False, "pooling": "mean"},
    "forward max, 3 layers": {"bidirectional": False, "pooling": "max", "num_layers": 3},
    "both last, 2 layers": {"pooling": "last", "num_layers": 2, "temperature": 2.5},
    "both max, 4 labels": {"pooling": "max", "id2label": FOUR_LABELS},
    "both mean_max, cut": {"max_length": 5},
    "both mean_max, 2 layers, 4 labels": {
        "num_layers": 2, "id2label": FOUR_LABELS, "temperature": 0.6, "dropout": 0.5,
    },
}  # fmt: skip
several_configurations = pytest.mark.parametrize(
    "fields", CONFIGURATIONS.values(), ids=list(CONFIGURATIONS)
)


@pytest.fixture
def make(make_pipeline):
    def sharpened(**fields) -> SentimentPipeline:
        pipe = make_pipeline(**{"hidden_size": 6, **fields})
        with torch.no_grad():  # So that every word moves the answer, as after a training.
            pipe.network.embedding.weight.mul_(4)
            pipe.network.linear.weight.mul_(8)
        return pipe

    return sharpened


def ids_of(pipe: SentimentPipeline, text: str) -> list[int]:
    """Ids of the words that the network reads: a quarter from the head, the rest from the tail."""
    ids, most = pipe.tokenizer.encode(text).ids, pipe.config.max_length or 10**6
    return ids if len(ids) <= most else ids[: most // 4] + ids[most // 4 - most :]


@torch.no_grad()
def answer(pipe: SentimentPipeline, ids: list[int]) -> torch.Tensor:
    return pipe.network.probabilities(pipe.network(torch.tensor([ids or [1]])))[0]


def as_json(value):
    return json.loads(json.dumps(value))


# Steps of our own network


def test_the_article_has_exactly_the_shapes_of_the_article(run):
    result = run("inspect", "--preset", "article", "--untrained", "--json")
    assert result.exit_code == 0
    seen = json.loads(result.stdout)
    shapes = {step["name"]: step["output_shape"] for step in seen["steps"]}
    vocabulary = shapes["embedding.weight"][0]
    assert vocabulary > 1000
    assert list(shapes.items()) == [
        ("text", [50]),
        ("X", [50, 200]),
        ("y", [50]),
        ("embedding.weight", [vocabulary, 30]),
        ("embedding", [50, 200, 30]),
        ("lstm", [50, 200, 512]),
        ("lstm final hidden state", [1, 50, 512]),
        ("lstm final cell state", [1, 50, 512]),
        ("flattened", [10000, 512]),
        ("linear", [10000, 1]),
        ("sigmoid", [10000, 1]),
        ("reshaped", [50, 200]),
        ("verdict", [50]),
    ]
    assert all(list(step) == STEP_KEYS for step in seen["steps"])
    sample = load_reviews("sample")["train"]
    first = seen["texts"][0]
    row = sample["text"].index(first["text"])
    assert seen["steps"][2]["values"][0] == sample["label"][row]
    positive = first["score"] if first["label"] == "pos" else 1 - first["score"]
    assert seen["steps"][-1]["values"][0] == pytest.approx(positive, abs=1e-6)


def true_shapes(config, rows: int, longest: int) -> list[tuple]:
    """Name, input and output of every step, from the sizes alone."""
    embedding, hidden, outputs = config.embedding_dim, config.hidden_size, config.num_outputs
    grid = config.pooling == "last" and not config.bidirectional
    words = (config.max_length or longest) if grid else min(longest, config.max_length or longest)
    two, squeeze = (outputs == 1, "sigmoid" if outputs == 1 else "softmax")
    state = (config.num_layers, rows, hidden)
    steps = [
        ("text", (), (rows,)),
        ("X", (rows,), (rows, words)),
        ("embedding.weight", (), (config.vocab_size, embedding)),
        ("embedding", (rows, words), (rows, words, embedding)),
    ]
    for name in ("lstm", "backward_lstm")[: 1 + config.bidirectional]:
        steps.append((name, (rows, words, embedding), (rows, words, hidden)))
        steps += [(f"{name} final {kind} state", (), state) for kind in ("hidden", "cell")]
    if grid:
        places, labels = rows * words, () if two else (outputs,)
        return [
            *steps,
            ("flattened", (rows, words, hidden), (places, hidden)),
            ("linear", (places, hidden), (places, outputs)),
            (squeeze, (places, outputs), (places, outputs)),
            ("reshaped", (places, outputs), (rows, words, *labels)),
            ("verdict", (rows, words, *labels), (rows, *labels)),
        ]
    features = hidden * (1 + config.bidirectional) * (1 + (config.pooling == "mean_max"))
    return [
        *steps,
        ("pooling", (rows, words, hidden), (rows, features)),
        ("linear", (rows, features), (rows, outputs)),
        (squeeze, (rows, outputs), (rows, config.num_labels)),
        ("verdict", (rows, config.num_labels), (rows,) if two else (rows, outputs)),
    ]


@several_configurations
def test_every_configuration_shows_its_own_true_steps(make, fields):
    pipe = make(**fields)
    steps = pipe.trace(TEXTS)
    shapes = [(step.name, step.input_shape, step.output_shape) for step in steps]
    assert shapes == true_shapes(pipe.config, 3, 7)
    assert all(len(step.axes) == len(step.output_shape) for step in steps)
    assert all(step.what.endswith(".") for step in steps)
    assert sum(s.parameters for s in steps) == sum(p.numel() for p in pipe.network.parameters())


@several_configurations
def test_the_last_value_is_the_models_prediction(make, fields):
    pipe = make(**fields)
    probabilities = [{one["label"]: one["score"] for one in pipe(t, top_k=None)} for t in TEXTS]
    names = pipe.config.label_names
    expected = [[row[name] for name in names] for row in probabilities]
    verdict = torch.tensor(pipe.trace(TEXTS)[-1].values)
    expected = torch.tensor(expected) if len(names) > 2 else torch.tensor(expected)[:, 1]
    assert expected.std(dim=0).min() > 0.01
    assert_close(verdict, expected, atol=1e-6, rtol=0)


@several_configurations
def test_final_states_are_those_after_each_rows_own_last_word(make, fields):
    pipe = make(**fields)
    steps = {step.name: torch.tensor(step.values) for step in pipe.trace(TEXTS)[1:]}
    for name in ("lstm", "backward_lstm")[: 1 + pipe.config.bidirectional]:
        plain = nn.LSTM(5, 6, num_layers=pipe.config.num_layers, batch_first=True).eval()
        plain.load_state_dict(getattr(pipe.network, name).state_dict())
        for row, text in enumerate(TEXTS):
            ids = ids_of(pipe, text)[:: -1 if name == "backward_lstm" else 1]
            states, (hidden, cell) = plain(pipe.network.embedding(torch.tensor([ids])))
            shown = steps[f"{name} final hidden state"][:, row]
            assert_close(shown, hidden[:, 0], atol=1e-5, rtol=0)
            assert_close(shown[-1], states[0, -1], atol=1e-5, rtol=0)
            assert_close(steps[f"{name} final cell state"][:, row], cell[:, 0], atol=1e-5, rtol=0)


def test_words_stand_before_their_integers_and_an_empty_text_is_the_one_unknown_word(make):
    pipe = make()
    words, x = pipe.trace(["a good zebra", ""])[:2]
    assert words.values == [["a", "good", "[UNK]"], ["[UNK]"]]
    shown = [[word for word in row if word] for row in x.values]
    assert shown == [[pipe.tokenizer.token_to_id(word) for word in row] for row in words.values]


def test_the_articles_grid_shows_words_and_not_the_padding_before_them(make):
    pipe = make(**{**ARTICLE, "max_length": 200})
    steps = {step.name: np.array(step.values) for step in pipe.trace(["not a bad film"])[1:]}
    assert set(ids_of(pipe, "not a bad film")) <= set(steps["X"].ravel())
    for name in ("embedding", "lstm", "flattened", "linear", "sigmoid", "reshaped"):
        assert len(np.unique(steps[name])) > 1, name


def test_a_step_cannot_be_changed_and_training_mode_changes_nothing(make):
    pipe = make(num_layers=2, dropout=0.9, word_dropout=0.9)
    steps = pipe.trace(TEXTS)
    with pytest.raises(FrozenInstanceError):
        steps[0].name = "another"
    pipe.network.train()
    assert pipe.trace(TEXTS) == steps
    assert pipe.network.training


# Steps of any module


class Named(nn.Module):
    """Dictionaries in and out, a layer called twice, another by keyword."""

    def __init__(self):
        super().__init__()
        self.twice, self.other = nn.Linear(3, 3), nn.Linear(3, 2)

    def forward(self, values):
        return {"scores": self.other(input=self.twice(self.twice(values["x"])))}


class Packed(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(3, 4, batch_first=True)

    def forward(self, x):
        return self.rnn(nn.utils.rnn.pack_padded_sequence(x, torch.tensor([3, 1]), True))


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(3, 4, 2), nn.LayerNorm(4), nn.GRU(4, 5, batch_first=True), nn.Identity()
    )


def shapes_of(steps) -> list[tuple]:
    return [(step.name, step.input_shape, step.output_shape, step.parameters) for step in steps]


def test_any_module_gives_one_step_for_each_call_of_a_leaf_in_order():
    steps = trace(convolutional(), torch.ones(2, 3, 5))
    assert shapes_of(steps)[:4] == [
        ("0", (2, 3, 5), (2, 4, 4), 28),
        ("1", (2, 4, 4), (2, 4, 4), 8),
        ("2", (2, 4, 4), (2, 4, 5), 165),
        ("2 final hidden state", (2, 4, 4), (1, 2, 5), 0),
    ]
    assert all(len(step.axes) == len(step.output_shape) for step in steps)
    assert steps[3].axes[:2] == ("layer", "batch")
    linear = nn.Linear(3, 1)
    (only,) = trace(linear, torch.ones(2, 3))
    assert_close(torch.tensor(only.values), linear(torch.ones(2, 3)))


def test_dictionaries_keywords_and_layers_called_twice_are_followed():
    assert shapes_of(trace(Named(), {"x": torch.ones(4, 3)})) == [
        ("twice", (4, 3), (4, 3), 12),
        ("twice", (4, 3), (4, 3), 12),
        ("other", (4, 3), (4, 2), 8),
    ]


def test_the_attention_of_a_transformer_is_a_step():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    steps = trace(layer, torch.randn(2, 3, 8))
    names = [step.name for step in steps if "dropout" not in step.name]
    assert names[0].startswith("self_attn")
    assert names[-4:] == ["norm1", "linear1", "linear2", "norm2"]
    assert sum(step.parameters for step in steps) == sum(p.numel() for p in layer.parameters())


def test_the_final_states_of_a_packed_sequence_are_its_final_states():
    shapes = {step.name: step.output_shape for step in trace(Packed(), torch.ones(2, 3, 3))}
    assert shapes["rnn final hidden state"] == shapes["rnn final cell state"] == (1, 2, 4)


def test_a_value_is_what_came_out_even_if_the_next_layer_overwrites_it():
    torch.manual_seed(0)
    linear = nn.Linear(3, 6)
    first = trace(nn.Sequential(linear, nn.ReLU(inplace=True)), torch.ones(1, 3))[0]
    assert_close(torch.tensor(first.values), linear(torch.ones(1, 3)))


@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 99, 5)], ids=["fits", "fails"])
def test_a_module_is_left_as_it_was(shape):
    module = convolutional().train()
    module[1].eval()  # As a layer that is kept frozen.
    with contextlib.suppress(RuntimeError):
        trace(module, torch.ones(shape))
    assert [part.training for part in module] == [True, False, True, True]
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())


# Trajectory


def test_the_row_of_the_articles_grid_is_the_trajectory(make):
    text = "not a good film , warm"
    for labels in ({}, {"temperature": 1.7}):
        pipe = make(**{**ARTICLE, "max_length": 6, **labels})
        points = torch.tensor([point.probability for point in pipe.trajectory(text)])
        (row,) = next(step.values for step in pipe.trace([text]) if step.name == "reshaped")
        assert_close(torch.tensor(row), points, atol=1e-5, rtol=0)
        assert points.std() > 0.01


@several_configurations
def test_a_trajectory_is_the_answer_to_every_prefix(make, fields):
    pipe = make(**fields)
    text = "Not a GOOD film,\n warm <br /> and zebra. It isn't bad and cold"
    ends = [end for _, end in pipe.tokenizer.encode(text).offsets]
    points = pipe.trajectory(text)
    names = pipe.config.label_names
    label = names[1] if len(names) == 2 else pipe(text)[0]["label"]
    for point, end in zip(points, ends, strict=True):
        scores = {one["label"]: one["score"] for one in pipe(text[:end], top_k=None)}
        assert point.probability == pytest.approx(scores[label], abs=1e-5)
    assert [word for word, _ in points] == re.sub("<br />", " ", text).replace(
        ",", " ,"
    ).replace(".", " .").replace("n't", " n't").split()  # fmt: skip


def test_five_thousand_words_give_two_hundred_points_evenly_spaced_that_cover_the_text(make):
    pipe, dice = make(), random.Random(0)
    text = " ".join(dice.choices(["good", "bad", "zebra", "not", "film"], k=5000))
    points = pipe.trajectory(text)
    assert len(points) == 200
    assert " ".join(point.word for point in points) == text
    counts = [len(point.word.split()) for point in points]
    assert max(counts[1:]) - min(counts[1:]) <= 1
    assert counts[0] <= max(counts)
    for number, read in list(enumerate(np.cumsum(counts)))[::33] + [(199, 5000)]:
        ids = ids_of(pipe, " ".join(text.split()[:read]))
        assert points[number].probability == pytest.approx(float(answer(pipe, ids)[1]), abs=1e-5)


def test_the_trajectory_of_two_hundred_words_takes_well_under_a_second(make):
    pipe, threads, seconds = make(embedding_dim=128, hidden_size=128), torch.get_num_threads(), []
    torch.set_num_threads(1)  # Seconds of the processor: other jobs do not count.
    for _ in range(3):
        start = time.process_time()
        assert len(pipe.trajectory("a good film and " * 50)) == 200
        seconds.append(time.process_time() - start)
    torch.set_num_threads(threads)
    assert min(seconds) < 0.7


# Explanation


@several_configurations
def test_deletion_is_what_the_answer_loses_without_the_word(make, fields):
    pytest.importorskip("captum")
    pipe = make(**fields)
    for text in [*TEXTS, "not a bad film , warm and good and cold zebra"]:
        found, ids = pipe.explain(text), ids_of(pipe, text)
        whole = answer(pipe, ids)
        label = int(whole.argmax())
        assert found.label == pipe.config.label_names[label] == pipe(text)[0]["label"]
        assert found.probability == pytest.approx(float(whole[label]), abs=1e-6)
        words = text.split()
        most = pipe.config.max_length or len(words)
        kept = words if len(words) <= most else words[: most // 4] + words[most // 4 - most :]
        assert found.words == kept
        lost = [whole - answer(pipe, ids[:i] + ids[i + 1 :]) for i in range(len(ids))]
        assert_close(torch.tensor(found.deletion), torch.stack(lost)[:, label], atol=1e-5, rtol=0)


@several_configurations
def test_gradients_divide_up_what_the_words_add_to_the_logit(make, fields):
    pytest.importorskip("captum")
    pipe = make(**fields)
    network, found = pipe.network, pipe.explain(TEXTS[2])
    embedded, lengths = network.embed(torch.tensor([ids_of(pipe, TEXTS[2])]))
    difference = network.classify(embedded, lengths) - network.classify(0 * embedded, lengths)
    label = pipe.config.label_names.index(found.label)
    total = float(difference[0, label] if difference.ndim == 2 else difference * (2 * label - 1))
    assert len(found.gradients) == len(found.words)
    assert found.completeness_error < 0.05
    assert sum(found.gradients) == pytest.approx(total, abs=0.05 * abs(total))
    error = abs(sum(found.gradients) - total) / abs(total)
    assert found.completeness_error == pytest.approx(error, abs=1e-4)


def test_explaining_leaves_the_network_as_it_was(make):
    pytest.importorskip("captum")
    pipe = make(dropout=0.9, word_dropout=0.9)
    expected = pipe.explain(TEXTS[0])
    pipe.network.train()
    assert pipe.explain(TEXTS[0]) == expected
    assert pipe.network.training
    assert all(weight.grad is None for weight in pipe.network.parameters())


def test_without_captum_the_sentence_says_what_to_install(make, checkpoint, run, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "captum"] + ["captum"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SentimentError, match=r"captum.*sentiment-hf\[explain\]"):
        make().explain("good")
    result = run("inspect", "good", "--model", checkpoint, "--explain")
    assert result.exit_code in (1, 2)
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert run("inspect", "good", "--model", checkpoint, "--trajectory").exit_code == 0


# The command: terminal, JSON, page and figure


class Page(HTMLParser):
    """Tags with their attributes, the words that have a shade, and all visible text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags, self.words, self.text, self._in_word = [], [], "", False
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._in_word = tag == "span" and "title" in dict(attrs)
        self.words += [""] if self._in_word else []

    def handle_endtag(self, tag):
        self._in_word = False

    def handle_data(self, data):
        self.text += data
        if self._in_word:
            self.words[-1] += data

    def assert_harmless(self) -> None:
        """Nothing of a text has become a tag, and nothing is fetched or run."""
        tags = {tag for tag, _ in self.tags}
        assert tags <= set(
            "html meta title style h1 h2 h3 section p span svg line polyline"
            " details summary strong pre".split()
        )
        attributes = {name for _, attrs in self.tags for name in attrs}
        assert not attributes & {"src", "srcset", "href", "xlink:href", "action", "data"}
        assert not [name for name in attributes if name.startswith("on")]


HTML = """<script>alert("1")</script> & <img src='http://x.org/a.png' onerror=alert(1)> </p>"""
ODD_TEXTS = {
    "empty": "",
    "5,000 words": "good bad not film zebra " * 1000,
    "emoji": "😀 good 👩‍👩‍👧 film ❤️🇫🇷",
    "right-to-left": "فيلم جيد جدا, good film",
    "HTML": HTML,
    "long HTML": f"{HTML} " * 50,
    "only unknown words": "zebra giraffe",
}


@pytest.mark.parametrize("text", ODD_TEXTS.values(), ids=list(ODD_TEXTS))
def test_every_text_is_shown_sensibly_everywhere(make_pipeline, run, tmp_path, text):
    pytest.importorskip("captum")
    make_pipeline(max_length=60).save_pretrained(tmp_path / "model")
    asked = ["inspect", "--model", tmp_path / "model", "--trajectory", "--explain"]
    result = run(*asked, "--html", tmp_path / "page.html", "--json", "--", text)
    assert (result.exit_code, result.stderr) == (0, "")
    seen = json.loads(result.stdout)
    (reading,) = seen["texts"]
    assert list(reading) == ["text", "label", "score", "trajectory", "explanation"]
    assert reading["text"] == text
    words = [point["word"] for point in reading["trajectory"]]
    assert "".join("".join(words).split()) == "".join(text.split())

    page = Page(tmp_path / "page.html")
    page.assert_harmless()
    assert page.words == words + reading["explanation"]["words"]
    assert f"{reading['label']} {reading['score']:.2f}" in page.text
    points = next(attrs["points"] for tag, attrs in page.tags if tag == "polyline").split()
    heights = [1 - float(point.split(",")[1]) / 100 for point in points]
    assert heights == pytest.approx([p["probability"] for p in reading["trajectory"]], abs=1e-3)

    plain = run(*asked, "--", text)
    assert (plain.exit_code, plain.stderr) == (0, "")
    assert " ".join(" ".join(words).split()) in " ".join(plain.stdout.split())
    assert f"{reading['label']} {reading['score']:.2f}" in plain.stdout


def test_json_and_terminal_are_renderings_of_the_steps(make_pipeline, checkpoint, run):
    steps = make_pipeline().trace(TEXTS)
    seen = json.loads(run("inspect", *TEXTS, "--model", checkpoint, "--json").stdout)
    assert seen["steps"] == as_json([step.to_dict() for step in steps])
    assert all(list(step) == STEP_KEYS for step in seen["steps"])
    answers = make_pipeline()(TEXTS)
    assert seen["texts"] == [{"text": t, **a} for t, a in zip(TEXTS, answers, strict=True)]
    shown = run("inspect", *TEXTS, "--model", checkpoint).stdout
    places = [shown.index(f"{number}. {step.name}\n") for number, step in enumerate(steps)]
    assert places == sorted(places)
    assert "batch 3 x sequence 7 x embedding 5" in shown


def test_the_page_is_whole_in_itself_and_shows_each_text_with_its_own_label(make, run, tmp_path):
    names = {0: "<b>bad</b>", 1: 'po"or', 2: "good", 3: "great"}
    pipe = make(id2label=names)
    pipe.save_pretrained(tmp_path / "model")
    target = tmp_path / "new" / "page.html"
    asked = ["inspect", *TEXTS, "--model", tmp_path / "model", "--trajectory"]
    result = run(*asked, "--html", target, "--png", target.with_suffix(".png"))
    assert (result.exit_code, result.stderr) == (0, "")
    assert "\x1b" not in result.stdout
    page = Page(target)
    page.assert_harmless()
    assert not re.search(r"https?:|url\(|@import|src=|href=", page.source)
    labels = [answer["label"] for answer in pipe(TEXTS)]
    assert len(set(labels)) > 1
    assert re.findall("The probability of (.*) after each word", page.text) == labels
    assert " ".join(page.words) == " ".join(TEXTS)
    assert target.with_suffix(".png").read_bytes().startswith(b"\x89PNG\r\n")


def test_a_line_of_bars_fits_the_terminal_and_ends_at_the_last_answer():
    for count in (1, 2, 71, 143, 144, 200):
        points = [Point("word", 0.01)] * (count - 1) + [Point("word", 0.99)]
        text, bars = render_trajectory(points, ("neg", "pos"), colour=False).splitlines()
        assert text.split() == ["word"] * count
        drawn = re.match("[▁▂▃▄▅▆▇█]+", bars)[0]
        assert len(drawn) <= 80
        assert (drawn[-1], set(drawn[:-1]) <= {"▁"}) == ("█", True)


@pytest.mark.parametrize("no_colour", [False, True], ids=["colour", "NO_COLOR"])
def test_a_terminal_is_coloured_unless_it_must_not_be(checkpoint, no_colour):
    leader, follower = pty.openpty()
    command = ["inspect", "good film", "--trajectory", "--model", str(checkpoint)]
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    process = subprocess.Popen(
        [sys.executable, "-m", "sentiment_hf.cli", *command],
        stdout=follower,
        env=environment | ({"NO_COLOR": "1"} if no_colour else {}),
    )
    os.close(follower)
    shown = b""
    with contextlib.suppress(OSError):  # What Linux says when the command has ended.
        while part := os.read(leader, 4096):
            shown += part
    os.close(leader)
    assert process.wait() == 0
    words = re.search(rb"(\S*)good (\S*)film(\S*)\r\n", shown)
    assert words is not None
    assert (b"\x1b" in shown) is not no_colour
    assert all(words.groups()) is not no_colour


def test_a_data_set_is_a_batch_whose_labels_are_the_checkpoints(make, run, tmp_path):
    make(id2label={0: "pos", 1: "neg"}).save_pretrained(tmp_path / "model")
    rows = [(f"good row{i}", "pos") if i % 2 else (f"bad row{i}", "neg") for i in range(60)]
    csv = "text,label\n" + "".join(f"{text},{label}\n" for text, label in rows)
    (tmp_path / "own.csv").write_text(csv)
    own = ["inspect", "--model", tmp_path / "model", "--dataset", tmp_path / "own.csv", "--json"]
    for count, options in ((50, []), (4, ["--max-samples", 4])):
        result = run(*own, "--quiet", *options)
        assert result.exit_code == 0
        seen = json.loads(result.stdout)
        words, x, y = seen["steps"][:3]
        assert (y["name"], x["output_shape"][0], y["output_shape"]) == ("y", count, [count])
        expected = [0 if row[0] == "good" else 1 for row in words["values"]]
        assert y["values"][: len(expected)] == expected
        assert len(seen["texts"]) == 1


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["good", "--preset", "article"], "--untrained"),
        (["good", "--untrained"], "--preset"),
        (["good", "--untrained", "--preset", "article", "--model", "here"], "--model"),
        (["good", "--untrained", "--preset", "nonsense"], "nonsense.*article.*fast"),
        (["good", "--model", "nowhere"], "nowhere"),
        (["--model", "here", "--dataset", "nowhere.csv"], "nowhere.csv"),
        (["good", "--model", "here", "--png", "figure.txt"], "png"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_one_sentence(checkpoint, run, monkeypatch, arguments, named):
    monkeypatch.chdir(checkpoint.parent)
    checkpoint.rename("here")
    result = run("inspect", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert re.fullmatch(f"error: [^\n]*{named}[^\n]*\n", result.stderr)


def test_the_script_is_the_article_in_eighty_lines(capsys):
    assert len(SCRIPT.read_text().splitlines()) <= 80
    runpy.run_path(str(SCRIPT), run_name="__main__")
    printed = capsys.readouterr().out
    words = int(re.search(r"Vocabulary size: (\d+)", printed)[1])
    shapes = [eval(shape) for shape in re.findall(r"torch\.Size\((\[.*?\])\)", printed)]
    assert shapes == [
        [50, 200], [50], [words, 30], [50, 200, 30], [50, 200, 512], [1, 50, 512], [1, 50, 512],
        [10000, 512], [10000, 1], [10000, 1], [50, 200], [50],
    ]  # fmt: skip
    verdicts = re.findall(r"[\d.]+", printed.split("Final sentiment prediction is")[1])[1:]
    assert len(verdicts) == 50
    assert all(0 < float(verdict) < 1 for verdict in verdicts)
