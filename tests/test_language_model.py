"""The loss of `pretrain`: guessing each word from those before or after it."""

import numpy as np
import pytest
import torch

from sentiment_hf.training import language_model
from sentiment_hf.training.language_model import LanguageModel, guess_words
from sentiment_hf.training.train import classification_loss


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
