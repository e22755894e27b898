"""The training loop: epochs, the weights that are kept, learning rates."""

import pytest
import torch

from sentiment_hf import SentimentError
from sentiment_hf.training.loop import TrainerSettings, learning_rate_share
from sentiment_hf.training.train import classification_loss


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
