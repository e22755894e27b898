"""`train`, its trainer and its losses."""

import json
import os
import platform
import re

import numpy as np
import pytest
import torch
from conftest import SENTENCES
from datasets import ClassLabel, Dataset, Features, Value
from torch import nn

from sentiment_hf import SentimentError, SentimentPipeline, __version__, train
from sentiment_hf.model import device
from sentiment_hf.training import language_model
from sentiment_hf.training.language_model import LanguageModel, guess_words
from sentiment_hf.training.loop import TrainerSettings, learning_rate_share
from sentiment_hf.training.rows import LabelledRows, TrainingRows
from sentiment_hf.training.train import balanced_weights, classification_loss
from sentiment_hf.training.validation import Validation

SMALL = {"epochs": 1, "batch_size": 64, "max_length": 30, "show_progress": False}
FILES = {
    "README.md",
    "config.json",
    "figures/training_curve.png",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "training.json",
}


@pytest.fixture(scope="module")
def easy(easy_csv, tmp_path_factory):
    """A checkpoint folder trained on the easy rows."""
    folder = tmp_path_factory.mktemp("training") / "easy"
    train(easy_csv, folder, **SMALL | {"epochs": 20, "batch_size": 16, "seed": 3})
    return folder


def record_of(folder):
    return json.loads((folder / "training.json").read_text())


def vocabulary(folder):
    return set(json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"])


def test_an_easy_data_set_is_learnt_to_the_last_epoch_where_few_rows_could_choose_one(easy):
    record = record_of(easy)
    assert record["validation_accuracy"] > 0.9
    assert len(record["history"]) == 20
    answers = SentimentPipeline.from_pretrained(easy)(["a warm , funny film", "a dull , grim film"])
    assert [answer["label"] for answer in answers] == ["pos", "neg"]


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(easy_csv, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(easy_csv, tmp_path / name, seed=seed, **SMALL)
    a, b, c = ((tmp_path / name / "model.safetensors").read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_the_folder_holds_the_files_of_the_contract_and_no_pickle(easy):
    files = {str(path.relative_to(easy)) for path in easy.rglob("*") if path.is_file()}
    assert files == FILES
    assert not list(easy.parent.glob(".*")), "something was left beside the folder"
    for name in files:
        assert not (easy / name).read_bytes().startswith((b"PK", b"\x80"))
    assert (easy / "figures/training_curve.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_training_json_tells_what_was_done_with_what_and_for_how_long(easy):
    record = record_of(easy)
    arguments = {"preset": "fast", "epochs": 20, "batch_size": 16, "seed": 3}
    assert arguments.items() <= record["arguments"].items()
    assert record["data"]["dataset"] == "easy.csv"
    assert record["data"]["revision"] is None
    assert (record["data"]["train_rows"], record["data"]["validation_rows"]) == (180, 20)
    assert re.fullmatch("[0-9a-f]{8,}", record["data"]["fingerprint"])
    assert record["versions"]["sentiment-hf"] == __version__
    assert record["versions"]["torch"] == torch.__version__
    assert record["hardware"]["device"]
    assert record["hardware"]["precision"] in ("bfloat16", "float32")
    assert record["seconds"] > 0
    steps = 180 // 16 + 1
    for number, entry in enumerate(record["history"], start=1):
        assert (entry["epoch"], entry["step"]) == (number, number * steps)
        figures = {"validation_accuracy", "validation_loss", "validation_calibrated_loss"}
        assert {"train_loss", *figures} <= set(entry)
    best = max(entry["validation_accuracy"] for entry in record["history"])
    assert record["validation_accuracy"] == pytest.approx(best, abs=0.051)


def test_nothing_that_is_written_names_an_absolute_path(easy):
    for name in FILES - {"model.safetensors", "figures/training_curve.png"}:
        assert str(easy.parent.parent) not in (easy / name).read_text()
    assert not re.search(r'"(/|~|[A-Z]:\\)', (easy / "training.json").read_text())


def test_the_options_arrive_in_what_is_written(easy_csv, tmp_path, run):
    options = "--preset article --epochs 2 --batch-size 45 --learning-rate 0.004 --vocab-size 9"
    options += " --max-length 17 --seed 5 --dtype float32 --json"
    result = run("train", easy_csv, "--output", tmp_path / "out", *options.split())
    assert result.exit_code == 0
    record = record_of(tmp_path / "out")
    assert json.loads(result.stdout) == record
    arguments = {"preset": "article", "epochs": 2, "batch_size": 45, "seed": 5}
    assert {**arguments, "learning_rate": 0.004}.items() <= record["arguments"].items()
    assert record["hardware"]["precision"] == "float32"
    assert [entry["step"] for entry in record["history"]] == [4, 8]
    config = json.loads((tmp_path / "out/config.json").read_text())
    expected = {"vocab_size": 9, "max_length": 17, "embedding_dim": 30, "hidden_size": 512}
    assert expected.items() <= config.items()
    assert (config["pooling"], config["bidirectional"]) == ("last", False)


def test_how_the_rows_were_read_is_written_down(easy_csv, tmp_path):
    train(easy_csv, tmp_path, max_samples=90, label_map={"neg": "bad", "pos": "good"}, **SMALL)
    record = record_of(tmp_path)
    assert record["data"]["train_rows"] + record["data"]["validation_rows"] == 90
    assert "max_samples" in json.dumps(record)
    assert '"bad"' in json.dumps(record)


def test_validation_rows_are_not_trained_on(easy):
    own_words = [word for word in vocabulary(easy) if word.startswith("row")]
    assert len(own_words) == record_of(easy)["data"]["train_rows"] == 180


def test_the_rows_of_a_test_split_change_nothing(easy_csv, tmp_path):
    rows = {"a": "text,label\ngood film,pos\n", "b": "text,label\n" + "x y,neg\n" * 9}
    for name, test in rows.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.csv").write_bytes(easy_csv.read_bytes())
        (tmp_path / name / "test.csv").write_text(test)
        train(tmp_path / name, tmp_path / f"out-{name}", **SMALL)
    one, other = (tmp_path / f"out-{name}/model.safetensors" for name in rows)
    assert one.read_bytes() == other.read_bytes()


def test_the_words_of_a_test_split_do_not_enter_the_vocabulary(easy_csv, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/train.csv").write_bytes(easy_csv.read_bytes())
    (tmp_path / "data/test.csv").write_text("text,label\n" + "unheard unheard film,pos\n" * 9)
    train(tmp_path / "data", tmp_path / "out", **SMALL)
    assert "film" in vocabulary(tmp_path / "out")
    assert "unheard" not in vocabulary(tmp_path / "out")


def test_a_column_of_floats_is_a_soft_label(easy_csv, tmp_path):
    soft = easy_csv.read_text().replace(",pos", ",0.8").replace(",neg", ",0.2")
    (tmp_path / "soft.csv").write_text(soft)
    settings = SMALL | {"epochs": 8, "batch_size": 16}
    pipe = train(tmp_path / "soft.csv", tmp_path / "out", **settings)
    assert pipe.config.label_names == ["neg", "pos"]
    texts = ["a dull , grim and cold film", "a warm , funny and tender film"]
    low, high = pipe.probabilities(texts)[:, 1].tolist()
    assert 0.1 < low < 0.45
    assert 0.55 < high < 0.9, "certain, although no row of the data is"


def test_three_labels_are_learnt(easy_csv, tmp_path):
    middling = [f"a {word} film and {word} music,mixed" for word in ("so-so", "fair") * 50]
    rows = easy_csv.read_text().splitlines()
    (tmp_path / "three.csv").write_text("\n".join(rows + middling))
    settings = SMALL | {"epochs": 12, "batch_size": 16}
    train(tmp_path / "three.csv", tmp_path / "out", **settings)
    pipe = SentimentPipeline.from_pretrained(tmp_path / "out")
    assert sorted(pipe.config.label_names) == ["mixed", "neg", "pos"]
    texts = ["a dull film with grim noisy music", "a fair film", "a warm film with lovely music"]
    assert [answer["label"] for answer in pipe(texts)] == ["neg", "mixed", "pos"]


@pytest.mark.parametrize(("batch_size", "where"), [(16, r"loss at step \d+ "), (500, "")])
def test_a_training_that_diverges_stops_with_a_sentence(easy_csv, tmp_path, run, batch_size, where):
    options = ["--learning-rate", 9e6, "--batch-size", batch_size, "--epochs", 3]
    result = run("train", easy_csv, "--output", tmp_path / "out", *options)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert re.search(f"^error: .*{where}.*--learning-rate", result.stderr.splitlines()[-1])
    assert not (tmp_path / "out/config.json").exists()


@pytest.mark.parametrize(
    ("asked", "supported", "said"),
    [
        ("float32", True, "float32 on cpu: as asked for"),
        ("bfloat16", False, "bfloat16 on cpu: as asked for"),
        (None, True, "bfloat16 on cpu: the processor has bfloat16 instructions"),
        (None, False, "float32 on cpu: the processor has no bfloat16 instructions"),
    ],
)
def test_the_choice_of_precision_is_said_with_its_reason(
    easy_csv, tmp_path, run, monkeypatch, asked, supported, said
):
    if said.startswith("bfloat16") and not device._trains_in_bfloat16():
        pytest.skip("this processor does not train in bfloat16")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: supported)
    options = ["--epochs", 1, "--batch-size", 200, "--device", "cpu"]
    options += ["--dtype", asked] if asked else []
    result = run("train", easy_csv, "--output", tmp_path / "out", *options)
    assert said in result.stderr
    assert record_of(tmp_path / "out")["hardware"]["precision"] == said.split()[0]


def test_a_processor_that_cannot_train_in_bfloat16_is_never_made_to(
    easy_csv, tmp_path, run, monkeypatch
):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(device, "_trains_in_bfloat16", lambda: False)
    command = ["train", easy_csv, "--output", tmp_path / "out", "--device", "cpu", "--epochs", 1]
    refused = run(*command, "--dtype", "bfloat16")
    assert refused.exit_code == 2
    assert re.search("^error: .*processor.*bfloat16.*float32.*--dtype", refused.stderr)
    assert not (tmp_path / "out").exists()
    chosen = run(*command)
    assert chosen.exit_code == 0
    assert "float32 on cpu: the processor has no bfloat16 instructions" in chosen.stderr


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the variable is about x86")
def test_without_the_instructions_for_bfloat16_it_is_refused_and_not_chosen(
    easy_csv, tmp_path, run_process
):
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2"}
    command = ["train", easy_csv, "--output", tmp_path / "out", "--device", "cpu", "--epochs", 1]
    refused = run_process(*command, "--dtype", "bfloat16", env=environment)
    assert refused.returncode == 2
    assert re.fullmatch("error: .*processor.*bfloat16.*--dtype.*\n", refused.stderr)
    chosen = run_process(*command, env=environment)
    assert chosen.returncode == 0, chosen.stderr
    assert record_of(tmp_path / "out")["hardware"]["precision"] == "float32"


def test_the_probe_of_bfloat16_leaves_the_random_numbers_alone():
    before = torch.get_rng_state()
    device._trains_in_bfloat16()
    assert torch.equal(torch.get_rng_state(), before)


# The trainer, with a network of a few weights.


def scripted(scores):
    """A validation that answers from a list, and keeps the weights that it was shown."""
    shown = []

    def validate(model):
        shown.append({key: value.clone() for key, value in model.state_dict().items()})
        score = scores[len(shown) - 1]
        return score, {"score": score}

    return validate, shown


def constant(height):
    """A loss that is the same at every step, and counts the rows it saw."""

    def loss_function(model, batch):
        loss_function.rows.append(len(batch.input_ids))
        return model(batch.input_ids).sum() * 0 + height

    loss_function.rows = []
    return loss_function


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
@pytest.mark.parametrize("scores", [[0.5, 0.9, 0.9, 0.1], [-3.0, -0.2, -0.2, -0.9]])
def test_the_first_best_weights_are_kept_not_the_last(
    make_network, make_batches, fit, ema_decay, scores
):
    validate, shown = scripted(scores)
    model = make_network()
    history = fit(
        model, classification_loss(), make_batches(), validate, epochs=4, ema_decay=ema_decay
    )
    assert [entry["validation_score"] for entry in history] == scores
    assert len(shown) == 4
    for name, value in model.state_dict().items():
        assert torch.equal(value, shown[1][name])
    assert not torch.equal(shown[1]["linear.weight"], shown[3]["linear.weight"])


def test_without_keeping_the_best_the_last_weights_are_kept(make_network, make_batches, fit):
    validate, shown = scripted([0.9, 0.5, 0.1])
    model = make_network()
    history = fit(model, classification_loss(), make_batches(), validate, keep_best=False)
    assert len(history) == 3
    for name, value in model.state_dict().items():
        assert torch.equal(value, shown[2][name])


@pytest.mark.parametrize(("patience", "epochs"), [(1, 3), (2, 4), (None, 6)])
def test_it_stops_after_as_many_epochs_without_a_better_one_as_it_has_patience(
    make_network, make_batches, fit, patience, epochs
):
    validate, _ = scripted([0.5, 0.7, 0.7, 0.6, 0.6, 0.6])
    settings = {"epochs": 6, "patience": patience}
    history = fit(make_network(), classification_loss(), make_batches(), validate, **settings)
    assert len(history) == epochs


@pytest.mark.parametrize("labels", [2, 3])
def test_confidence_alone_does_not_change_the_score_of_an_epoch(make_pipeline, labels):
    pipe = make_pipeline(id2label={i: f"label {i}" for i in range(labels)})
    classes = pipe.probabilities(SENTENCES).argmax(dim=-1).tolist() * 5
    classes[::4] = [(label + 1) % labels for label in classes[::4]]  # Not all right.
    kind = Features({"text": Value("string"), "label": ClassLabel(names=pipe.label_names)})
    held_out = Dataset.from_dict({"text": SENTENCES * 5, "label": classes}, kind)
    rows = TrainingRows([LabelledRows("films", held_out, held_out, {})], pipe.config.id2label)
    validation = Validation(rows, pipe.tokenizer, "loss")
    scores, losses = [], []
    for factor in (10.0, 3.0):
        with torch.no_grad():
            pipe.network.linear.weight *= factor
            pipe.network.linear.bias *= factor
        score, figures = validation(pipe.network)
        scores.append(score)
        losses.append(figures["loss"])
    assert scores[0] == pytest.approx(scores[1], rel=1e-4)
    assert abs(losses[1] - losses[0]) > 0.01


@pytest.mark.parametrize("where", ["loss", "validation"])
def test_a_figure_that_is_no_number_names_its_step(make_network, make_batches, fit, where):
    def loss_function(model, batch):
        now = where == "loss" and len(counted.rows) == 2
        return counted(model, batch) * (float("nan") if now else 1.0)

    counted = constant(1.0)
    validate, _ = scripted([float("nan")])
    with pytest.raises(SentimentError, match="step 3 ") as caught:
        fit(make_network(), loss_function, make_batches(), validate)
    assert caught.value.exit_status == 1


def test_an_epoch_has_each_row_once_and_its_loss_is_the_mean_over_steps(
    make_network, make_batches, fit
):
    loss_function = constant(2.5)
    validate, _ = scripted([0.5, 0.6])
    history = fit(make_network(), loss_function, make_batches(4, rows=10), validate, epochs=2)
    assert [entry["train_loss"] for entry in history] == [2.5, 2.5]
    assert sorted(loss_function.rows) == [2, 2, 4, 4, 4, 4]


@pytest.mark.parametrize(
    ("schedule", "warmup_ratio", "shares"),
    [
        ("constant", 0.0, [1, 1, 1]),
        ("linear", 0.2, [0.01, 1, 0.5]),
        ("cosine", 0.2, [0.01, 1, 0.5]),
    ],
)
def test_the_learning_rate_rises_to_its_peak_and_falls_as_its_schedule_says(
    schedule, warmup_ratio, shares
):
    settings = TrainerSettings(1, 0.1, schedule=schedule, warmup_ratio=warmup_ratio)
    found = [learning_rate_share(done, settings) for done in (0.0, warmup_ratio, 0.6)]
    assert found == pytest.approx(shares)


def test_a_layer_whose_factor_is_zero_stays_as_it_is(make_network, make_batches, fit):
    model, before = make_network(), make_network()
    validate, _ = scripted([0.1, 0.2, 0.3])
    factors = (("lstm", 0.0),)
    fit(model, classification_loss(), make_batches(), validate, learning_rate_factors=factors)
    assert torch.equal(model.lstm.weight_hh_l0, before.lstm.weight_hh_l0)
    assert not torch.equal(model.linear.weight, before.linear.weight)


@pytest.mark.parametrize("labels", [2, 3])
def test_label_smoothing_moves_the_targets_towards_even(make_network, make_batches, labels):
    model = make_network(labels=labels).eval()
    batch = next(make_batches(labels=labels).epoch(0))
    logits, answers = model(batch.input_ids, batch.attention_mask), batch.labels
    if labels == 2:
        logits = torch.stack([torch.zeros_like(logits), logits], dim=1)
        answers = torch.stack([1 - answers, answers], dim=1)
    expected = nn.functional.cross_entropy(logits, answers.argmax(dim=1), label_smoothing=0.2)
    assert classification_loss(0.2)(model, batch).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (np.array([1, 0, 0, 0], dtype=np.float32), [4 / 6, 2.0]),
        (np.array([0.5, 0.5], dtype=np.float32), [1.0, 1.0]),
        (np.eye(3, dtype=np.float32)[[0, 0, 1, 2]], [4 / 6, 4 / 3, 4 / 3]),
        (np.eye(3, dtype=np.float32)[[0, 0, 0, 1]], [4 / 9, 4 / 3, 4 / 3]),
    ],
)
def test_rare_labels_get_the_same_say(labels, expected):
    weights = balanced_weights(labels, len(expected))
    assert weights.tolist() == pytest.approx(expected)


def test_class_weights_weigh_each_rows_loss(make_network, make_batches):
    network = make_network(labels=3)
    batch = next(make_batches(labels=3).epoch(0))
    weights = torch.tensor([0.5, 2.0, 1.0])
    logits = network(batch.input_ids, batch.attention_mask)
    by_row = torch.nn.functional.cross_entropy(logits, batch.labels, reduction="none")
    expected = (by_row * weights[batch.labels.argmax(dim=1)]).mean()
    loss = classification_loss(class_weights=weights)(network, batch)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_rare_label_is_found_where_labels_are_balanced(tmp_path, run):
    dice = np.random.default_rng(0)
    lines = ["text,label"]
    for i in range(300):
        rare = i % 15 == 0
        words = dice.choice(["film", "cast", "plot", "the", "a"], 6).tolist()
        words.insert(3, "odd" if rare or dice.random() < 0.12 else "plain")
        lines.append(f"{' '.join(words)},{'rare' if rare else 'usual'}")
    (tmp_path / "data.csv").write_text("\n".join(lines) + "\n")
    found = {}
    for flags in ([], ["--balanced"]):
        options = ["--epochs", 8, "--learning-rate", 0.01, "--seed", 1, "--quiet", *flags]
        folder = tmp_path / f"out{len(flags)}"
        assert run("train", tmp_path / "data.csv", "--output", folder, *options).exit_code == 0
        answer = SentimentPipeline.from_pretrained(folder)("the odd film", top_k=None)
        found[bool(flags)] = {a["label"]: a["score"] for a in answer}["rare"]
    assert found[True] > found[False] + 0.1


def test_few_rows_get_a_hint_that_names_the_way(easy_csv, tmp_path, run):
    options = ["--epochs", 1, "--output"]
    assert "--init-from reference" in run("train", easy_csv, *options, tmp_path / "a").stderr
    started = run("train", easy_csv, *options, tmp_path / "b", "--init-from", tmp_path / "a")
    assert "--init-from" not in started.stderr


@pytest.mark.parametrize("labels", [2, 3])
def test_the_loss_is_finite_and_reaches_all_weights(make_network, make_batches, labels):
    model = make_network(labels=labels, dropout=0.3, word_dropout=0.2).train()
    loss = classification_loss(0.1)(model, next(make_batches(labels=labels).epoch(0)))
    loss.backward()
    assert torch.isfinite(loss)
    for name, parameter in model.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.fixture
def learn_to_guess(make_network, make_batches, fit):
    def learn(texts, new, candidates=None):
        """The smallest loss on texts that the language model was not trained on."""
        new = next(make_batches(len(new), texts=new).epoch(0))

        def validate(judged):
            loss = guess_words(judged.eval(), new).item()
            return -loss, {"loss": loss}

        model, batches = LanguageModel(make_network(), candidates), make_batches(8, texts=texts)
        history = fit(model, guess_words, batches, validate, epochs=15, learning_rate=0.05)
        return min(entry["validation_loss"] for entry in history)

    return learn


@pytest.mark.parametrize("candidates", [None, 8], ids=["full softmax", "sampled softmax"])
def test_the_language_model_learns_a_tiny_corpus(learn_to_guess, candidates):
    sentence = np.arange(2, 10)
    assert learn_to_guess([sentence] * 24, [sentence], candidates) < 0.6


def test_the_language_model_does_not_peek_at_the_word_it_guesses(learn_to_guess):
    texts, new = np.random.default_rng(0).integers(2, 12, (2, 64, 8))
    assert learn_to_guess(list(texts), list(new)) > np.log(10) - 0.1


def test_a_softmax_over_many_sampled_words_is_near_the_full_one(make_network, make_batches):
    full = LanguageModel(make_network())
    sampled = LanguageModel(make_network(seed=1), candidates=5000)
    sampled.load_state_dict(full.state_dict())
    batch = next(make_batches().epoch(0))
    assert sampled.train()(batch).item() == pytest.approx(full.train()(batch).item(), rel=1e-3)


def test_a_language_model_is_judged_slice_by_slice_as_at_once(
    make_network, make_batches, monkeypatch
):
    model = LanguageModel(make_network()).eval()
    batch = next(make_batches().epoch(0))
    monkeypatch.setattr(language_model, "SLICE", 10_000)
    at_once = model(batch).item()
    monkeypatch.setattr(language_model, "SLICE", 3)
    assert model(batch).item() == pytest.approx(at_once, rel=1e-5)
