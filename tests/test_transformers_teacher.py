"""A text classifier of `transformers` as a teacher, read from safetensors and without its code."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from tiny_bert import save_tiny_bert

from sentiment_hf import SentimentError, train_tokenizer
from sentiment_hf.training.rows import LabelledRows, TrainingRows
from sentiment_hf.training.teacher import Teaching, load_teacher, rows_with_targets

transformers = pytest.importorskip(
    "transformers", reason="the extra `transformers` is not installed"
)

WORDS = [
    "a", "the", "good", "bad", "film", ",", "and", "but", "not", "very", "warm", "cold", "dull",
]  # fmt: skip
TEXTS = ["a good film", "not a bad film , but cold and dull", "", "cold", "the very very dull film"]


@pytest.fixture
def make_classifier(tmp_path):
    """Writes an untrained BERT of a few weights: `make_classifier("name", ["bad", "good"])`."""

    def make(name="classifier", labels=("NEGATIVE", "POSITIVE"), **options):
        return save_tiny_bert(tmp_path / name, WORDS, labels, **options)

    return make


def pipeline_answers(folder, texts, names):
    """What `transformers` itself answers, `(texts, labels)`."""
    pipe = transformers.pipeline("text-classification", model=str(folder), device="cpu", top_k=None)
    answers = [
        {one["label"]: one["score"] for one in pipe(text)[0]} for text in map(list, zip(texts))
    ]
    return np.array([[answer[name] for name in names] for answer in answers])


@pytest.mark.parametrize("labels", [["NEGATIVE", "POSITIVE"], ["bad", "mixed", "good"]])
def test_its_answers_are_those_of_the_pipeline_of_transformers(make_classifier, labels):
    folder = make_classifier(labels=labels)
    teacher = load_teacher(folder, device="cpu", dtype="float32")
    assert teacher.label_names == labels
    found = teacher.probabilities(TEXTS)
    assert found == pytest.approx(pipeline_answers(folder, TEXTS, labels), abs=1e-3)
    assert np.ptp(found[:, 0]) > 0.05, "the texts are answered differently"


def test_what_is_longer_than_it_reads_keeps_its_head_and_tail(make_classifier):
    teacher = load_teacher(make_classifier(max_length=10), device="cpu", dtype="float32")
    text = "a good film and the very bad film but not dull"
    (ids,) = teacher.encode([text])
    assert teacher.tokenizer.decode(ids) == "[CLS] a good very bad film but not dull [SEP]"
    kept, other = teacher.probabilities([text, "a good very bad film but not dull"])
    assert kept == pytest.approx(other, abs=1e-6)


def test_a_tokenizer_without_a_limit_leaves_it_to_the_positions(make_classifier):
    teacher = load_teacher(make_classifier(), device="cpu", dtype="float32")
    assert teacher.encode.max_length == 22
    assert np.isfinite(teacher.probabilities(["film " * 500])).all()


def test_weights_in_float16_are_read_in_float32(make_classifier):
    folder = make_classifier()
    model = transformers.BertForSequenceClassification.from_pretrained(folder)
    model.half().save_pretrained(folder)
    for dtype in ("float32", None):
        teacher = load_teacher(folder, device="cpu", dtype=dtype)
        assert {weight.dtype for weight in teacher.model.parameters()} == {torch.float32}
        expected = pipeline_answers(folder, TEXTS, teacher.label_names)
        assert teacher.probabilities(TEXTS) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("pad_id", [None, -1, 2, 5], ids=["none", "no word", "[CLS]", "a word"])
def test_a_decoder_without_a_pad_token_answers_each_text_as_if_it_were_alone(
    make_classifier, pad_id
):
    folder = make_classifier()
    config = transformers.GPT2Config(
        vocab_size=4 + len(WORDS), n_positions=24, n_embd=8, n_layer=1, n_head=2,
        initializer_range=1.0, bos_token_id=2, eos_token_id=2, pad_token_id=pad_id,
    )  # fmt: skip
    config.id2label = {0: "neg", 1: "pos"}
    torch.manual_seed(0)
    transformers.GPT2ForSequenceClassification(config).save_pretrained(folder)
    change_file("tokenizer.json", post_processor=None)(folder)
    change_file("tokenizer_config.json", pad_token=None)(folder)
    teacher = load_teacher(folder, device="cpu", dtype="float32")
    assert teacher.tokenizer.pad_token_id is None
    texts = [*(text for text in TEXTS if text), "a good bad", "cold and the", "[CLS] film"]
    found = teacher.probabilities([*texts, ""])
    assert found[-1] == pytest.approx([0.5, 0.5]), "it has no word"
    assert found[:-1] == pytest.approx(pipeline_answers(folder, texts, ["neg", "pos"]), abs=1e-4)
    assert np.ptp(found[:, 0]) > 0.05


def test_a_model_that_answers_at_the_last_token_is_not_padded_and_one_without_a_limit_reads_all(
    make_classifier,
):
    folder = make_classifier()
    config = transformers.XLNetConfig(
        vocab_size=4 + len(WORDS), d_model=8, n_layer=1, n_head=2, d_inner=16, initializer_range=1.0
    )
    config.id2label = {0: "neg", 1: "pos"}
    torch.manual_seed(0)
    transformers.XLNetForSequenceClassification(config).save_pretrained(folder)
    found = load_teacher(folder, device="cpu", dtype="float32").probabilities(TEXTS)
    assert found == pytest.approx(pipeline_answers(folder, TEXTS, ["neg", "pos"]), abs=1e-4)


@pytest.fixture
def labelled_csv(tmp_path):
    dice = np.random.default_rng(0)
    lines = ["text,label"]
    for i in range(120):
        label = ("neg", "pos")[i % 2]
        words = [*dice.choice(WORDS, 6).tolist(), f"row{i}"]
        lines.append(f'"{" ".join(words)}",{label}')
    path = tmp_path / "own.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def train_with(run, labelled_csv, tmp_path):
    """Runs `train own.csv --teacher FOLDER ...`."""

    def invoke(teacher, *options):
        output = ["--output", tmp_path / "out", "--epochs", 1, "--batch-size", 60]
        return run("train", labelled_csv, "--teacher", teacher, *output, *options)

    return invoke


def refused(result, output):
    """The one sentence of a refusal."""
    assert result.exit_code == 2, result.stderr
    assert result.stdout == ""
    assert not output.exists()
    last = result.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert result.stderr.count("error: ") == 1
    assert "Traceback" not in result.stderr
    return last


def test_labels_are_matched_without_regard_to_case_and_order(make_classifier):
    features = {"text": ["a good film", "cold"], "label": [1, 0]}
    rows = Dataset.from_dict(features)
    tokenizer = train_tokenizer(["a good film", "cold a good film cold"])
    own = TrainingRows([LabelledRows("own", rows, rows, summary={})], ["neg", "pos"])

    def targets(folder, **label_map):
        teaching = Teaching([folder], [], 0, label_map)
        return rows_with_targets(teaching, own, tokenizer, device="cpu", dtype="float32").labels

    folder = make_classifier("turned", ["POS", "Neg"])
    answers = load_teacher(folder, device="cpu", dtype="float32").probabilities(rows["text"][:])
    assert targets(folder) == pytest.approx((answers[:, 0] + [1, 0]) / 2, abs=1e-5)
    numbered = make_classifier("numbered", ["LABEL_0", "LABEL_1"])
    assert targets(numbered, LABEL_0="pos", LABEL_1="neg") == pytest.approx(targets(folder))


def test_it_teaches_by_the_command(make_classifier, train_with, tmp_path):
    folder = make_classifier(labels=["LABEL_0", "LABEL_1"])
    said = refused(train_with(folder), tmp_path / "out")
    assert "'LABEL_0', 'LABEL_1'" in said
    assert "--teacher-label-map LABEL_0=NAME,LABEL_1=NAME" in said
    result = train_with(folder, "--teacher-label-map", "LABEL_0=neg,LABEL_1=pos")
    assert result.exit_code == 0, result.stderr
    record = json.loads((tmp_path / "out/training.json").read_text())
    assert record["arguments"]["teacher"] == "classifier"
    assert record["arguments"]["teacher_label_map"] == {"LABEL_0": "neg", "LABEL_1": "pos"}


def test_the_hint_copied_from_a_refusal_never_swaps_labels(make_classifier, train_with, tmp_path):
    folder = make_classifier(labels=["POSITIVE", "NEGATIVE"])
    said = refused(train_with(folder), tmp_path / "out")
    hint = re.search(r"--teacher-label-map (\S+), or drop a label: POSITIVE=\.", said)[1]
    assert hint == "POSITIVE=pos,NEGATIVE=neg"
    mistyped = refused(train_with(folder, "--teacher-label-map", "NEGATIVE=pso"), tmp_path / "out")
    assert "'POSITIVE', 'pso'" in mistyped
    assert f"--teacher-label-map {hint}" in mistyped
    result = train_with(folder, "--teacher-label-map", hint)
    assert result.exit_code == 0, result.stderr


def test_labels_that_become_one_and_dropped_ones_are_typed_as_the_page_shows(
    make_classifier, train_with, tmp_path
):
    page = (Path(__file__).parents[1] / "docs/distilling.md").read_text()
    stars = ["1 star", "2 stars", "3 stars", "4 stars", "5 stars"]
    typed = re.search(r"--teacher-label-map '(1 star=.+?)'", page)[1]
    result = train_with(make_classifier(labels=stars), "--teacher-label-map", typed)
    assert result.exit_code == 0, result.stderr
    record = json.loads((tmp_path / "out/training.json").read_text())
    expected = dict(zip(stars, ["neg", "neg", "", "pos", "pos"], strict=True))
    assert record["arguments"]["teacher_label_map"] == expected


def no_tokenizer(folder):
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (folder / name).unlink(missing_ok=True)


def pickle_alone(folder):
    model = transformers.BertForSequenceClassification.from_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def cut_weights(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-50])


def change_file(name, **fields):
    def change(folder):
        values = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(values | fields))

    return change


def change_config(**fields):
    return change_file("config.json", **fields)


def not_a_number(folder):
    model = transformers.BertForSequenceClassification.from_pretrained(folder)
    model.classifier.weight.data[0, 0] = float("nan")
    model.save_pretrained(folder)


def more_words(folder):
    path = folder / "tokenizer.json"
    values = json.loads(path.read_text())
    values["model"]["vocab"]["unseen"] = len(values["model"]["vocab"])
    path.write_text(json.dumps(values))


def own_code(folder):
    (folder / "modeling_own.py").write_text("raise SystemExit('this code was run')")
    classes = {"AutoConfig": "modeling_own.OwnConfig"}
    classes["AutoModelForSequenceClassification"] = "modeling_own.Own"
    change_config(model_type="own", auto_map=classes)(folder)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (no_tokenizer, "tokenizer"),
        (pickle_alone, "safetensors"),
        (cut_weights, "classifier.*cannot be loaded"),
        (own_code, "code"),
        (change_config(architectures=["BertModel"]), "no text classifier.*BertModel"),
        (change_config(problem_type="multi_label_classification"), "multi_label"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json"),
        (change_config(hidden_size=12, intermediate_size=9), "cannot be loaded"),
        (lambda folder: (folder / "model.safetensors").unlink(), "safetensors"),
        (change_config(problem_type="regression"), "classifier.*regression"),
        (change_config(id2label={"1": "neg", "2": "pos"}), "classifier.*numbered from 0.*1: 'neg'"),
        (change_config(id2label={"0": "", "1": "pos"}), "classifier.*named.*0: ''"),
        (more_words, "classifier.*18 words.*17"),
        (not_a_number, "classifier.*no numbers"),
        (change_file("tokenizer_config.json", model_max_length=2), "classifier.*no room for words"),
        (change_config(max_position_embeddings=1), "classifier.*cannot be loaded"),
        (change_config(type_vocab_size=0), "classifier.*cannot be loaded"),
    ],
    ids=[
        "no tokenizer", "pickle alone", "cut weights", "own code", "no classifier",
        "several labels at once", "a broken config", "other sizes", "no weights", "regression",
        "other numbers", "a label without a name", "more words", "not a number", "no room",
        "one position", "no types",
    ],
)  # fmt: skip
def test_what_is_no_classifier_of_safetensors_is_one_sentence(
    make_classifier, train_with, tmp_path, damage, words
):
    folder = make_classifier()
    damage(folder)
    result = train_with(folder, "--teacher-label-map", "NEGATIVE=neg,POSITIVE=pos")
    assert re.search(words, refused(result, tmp_path / "out"))


def test_a_model_that_cannot_compute_names_itself(make_classifier, monkeypatch):
    teacher = load_teacher(make_classifier(), device="cpu")
    monkeypatch.setattr(teacher.model, "forward", lambda **_: {}["pooler"])
    with pytest.raises(SentimentError, match=r"classifier.*failed.*pooler") as caught:
        teacher.probabilities(["a good film"])
    assert caught.value.exit_status == 2


def test_an_encoder_without_a_trained_head_is_refused(make_classifier, train_with, tmp_path):
    folder = make_classifier(kind="BertModel")
    assert "no text classifier" in refused(train_with(folder), tmp_path / "out")
    change_config(architectures=["BertForSequenceClassification"])(folder)
    assert "no trained classifier" in refused(train_with(folder), tmp_path / "out")


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["LABEL_0"], "one of several labels.*1"),
        (["sad", "glad"], "'sad', 'glad'.*'neg', 'pos'.*--teacher-label-map"),
        (["neg", "mixed", "pos"], "'neg', 'mixed', 'pos'.*'neg', 'pos'"),
    ],
)
def test_other_labels_are_listed_beside_those_of_the_data(
    make_classifier, train_with, tmp_path, labels, words
):
    assert re.search(words, refused(train_with(make_classifier(labels=labels)), tmp_path / "out"))


def test_without_transformers_the_install_command_is_named(make_classifier, monkeypatch):
    folder = make_classifier()
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(SentimentError, match=r"pip install 'sentiment-hf\[transformers\]'"):
        load_teacher(folder)


def test_the_answers_depend_on_all_that_the_checksum_names(make_classifier):
    checksums = [
        load_teacher(make_classifier(f"{i}", **options), device="cpu").checksum()
        for i, options in enumerate([{}, {}, {"labels": ["a", "b"]}, {"max_length": 9}])
    ]
    assert checksums[0] == checksums[1]
    assert len(set(checksums)) == 3


def test_the_help_says_what_a_teacher_is(run):
    said = " ".join(run("train", "--help").stdout.split())
    assert "--teacher TEACHER" in said
    assert "text classifier of transformers (folder or Hub id)" in said
    assert "--teacher-label-map" in said
