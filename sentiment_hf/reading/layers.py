"""The steps of our own network, from the words to the verdict, with the article's captions."""

from collections.abc import Sequence

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from sentiment_hf.data.batching import cut, pad_rows
from sentiment_hf.data.tokenization import UNK_TOKEN, encode_texts
from sentiment_hf.model.network import LSTMClassifier
from sentiment_hf.reading.trace import (
    NUMBERS_SHOWN,
    ROWS_SHOWN,
    Call,
    Step,
    evaluation_mode,
    make_step,
    record,
)

BATCH, SEQUENCE, EMBEDDING, HIDDEN = "batch", "sequence", "embedding", "hidden"


def trace_texts(
    network: LSTMClassifier,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    labels: Sequence[int] | None = None,
) -> list[Step]:
    """The steps from the texts to the verdicts; the last one is the model's answer.

    A network that reads forward and asks its last word is shown as the article shows it: a grid
    of reviews aligned to the right, the fully connected layer and the sigmoid at every position,
    and the verdict in the last column. Others show the steps that are truly theirs.

    Args:
        labels: class ids of the texts, shown as y.
    """
    config = network.config
    as_grid = config.pooling == "last" and not config.bidirectional
    rows = [cut(np.asarray(ids), config.max_length) for ids in encode_texts(tokenizer, texts)]
    width = config.max_length if as_grid else None
    x = torch.from_numpy(pad_rows(rows, width, side="left" if as_grid else "right"))
    x = x.to(network.linear.weight.device)
    calls = {call.name: call for call in record(network, x)}
    lengths = torch.tensor([len(row) for row in rows], device=x.device)

    def shown(sequence: Tensor) -> Tensor:
        return _right_aligned(sequence, lengths, x.shape[1]) if as_grid else sequence

    end = 1 if as_grid else None
    steps = [_words(tokenizer, texts), _ids(x, end)]
    if labels is not None:
        answers = torch.tensor(labels)
        steps.append(make_step("y", "The true label of each review.", answers, axes=(BATCH,)))
    embedded = calls["embedding"].outputs[0]
    steps += _embedding(network, shown(embedded), end)
    # Both directions' states, aligned with the words.
    states = calls["pooling"].inputs
    final = _final_states(network.lstm, embedded, lengths)
    steps += _lstm(network, "lstm", shown(states[0]), final, end)
    if network.backward_lstm is not None:
        final = _final_states(network.backward_lstm, calls["backward_lstm"].inputs[0], lengths)
        steps += _lstm(network, "backward_lstm", states[1], final, end)
    if as_grid:
        return steps + _grid_head(network, shown(states[0]))
    return steps + _head(network, calls["pooling"])


def _words(tokenizer: Tokenizer, texts: Sequence[str]) -> Step:
    words = [
        tokenizer.encode(text).tokens[:NUMBERS_SHOWN] or [UNK_TOKEN] for text in texts[:ROWS_SHOWN]
    ]
    what = "The reviews, cut into words; [UNK] stands for a word that the tokenizer does not know."
    return Step("text", what, (), (len(texts),), (BATCH,), "string", 0, words)


def _ids(x: Tensor, end: int | None) -> Step:
    side = "right" if end is None else "left"
    what = f"Each word as its number in the vocabulary, padded with 0 on the {side}."
    axes = (BATCH, SEQUENCE)
    return make_step("X", what, x, input_shape=(len(x),), axes=axes, from_the_end=end)


def _embedding(network: LSTMClassifier, output: Tensor, end: int | None) -> list[Step]:
    weight = network.embedding.weight
    return [
        make_step(
            "embedding.weight",
            "What was learnt of each word of the vocabulary: one vector a word.",
            weight,
            axes=("vocabulary", EMBEDDING),
            parameters=weight.numel(),
        ),
        make_step(
            "embedding",
            "Each number is replaced by the vector of its word.",
            output,
            input_shape=tuple(output.shape[:2]),
            axes=(BATCH, SEQUENCE, EMBEDDING),
            from_the_end=end,
        ),
    ]


def _lstm(
    network: LSTMClassifier,
    name: str,
    states: Tensor,
    final: tuple[Tensor, Tensor],
    end: int | None,
) -> list[Step]:
    """Output and final states of one direction; the first state is zero."""
    order, last = "word by word, left to right", "last"
    if name == "backward_lstm":
        order, last = "from the last word to the first", "first"
    axes = ("layer", BATCH, HIDDEN)
    hidden = f"What it shows after the {last} word."
    cell = f"What it remembers after the {last} word."
    return [
        make_step(
            name,
            f"Reads {order}, starting from a state of zeros; one state after each word.",
            states,
            input_shape=(*states.shape[:2], network.config.embedding_dim),
            axes=(BATCH, SEQUENCE, HIDDEN),
            from_the_end=end,
            parameters=_count_parameters(getattr(network, name)),
        ),
        make_step(f"{name} final hidden state", hidden, final[0], axes=axes),
        make_step(f"{name} final cell state", cell, final[1], axes=axes),
    ]


@torch.inference_mode()
def _final_states(module: nn.LSTM, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """The states after each row's own last word: the LSTM itself, told where each row ends."""
    packed = nn.utils.rnn.pack_padded_sequence(
        inputs, lengths.cpu(), batch_first=True, enforce_sorted=False
    )
    with evaluation_mode(module):
        return module(packed)[1]


def _right_aligned(sequence: Tensor, lengths: Tensor, width: int) -> Tensor:
    """Rows `(batch, seq, features)` aligned to the right in a grid; padding shows zeros."""
    grid = sequence.new_zeros(len(sequence), width, sequence.shape[2])
    for row, length in enumerate(lengths.tolist()):
        grid[row, width - length :] = sequence[row, :length]
    return grid


@torch.inference_mode()
def _grid_head(network: LSTMClassifier, states: Tensor) -> list[Step]:
    """The article's last steps: the head at every position, the verdict in the last column."""
    batch, width, hidden = states.shape
    flat = states.reshape(-1, hidden)
    logits, probabilities = _classify(network, flat)
    two = network.config.num_labels == 2
    shown = probabilities[:, 1:] if two else probabilities
    grid = shown.reshape(batch, width) if two else shown.reshape(batch, width, -1)
    positions, label = "position", () if two else ("label",)
    return [
        make_step(
            "flattened", "All positions of all reviews in one row.", flat,
            input_shape=(batch, width, hidden), axes=(positions, HIDDEN), from_the_end=0,
        ),
        make_step(
            "linear", "The fully connected layer: each state becomes one number a label.", logits,
            input_shape=tuple(flat.shape), axes=(positions, "output"), from_the_end=0,
            parameters=_count_parameters(network.linear),
        ),
        make_step(
            *_squeeze(network), shown,
            input_shape=tuple(logits.shape), axes=(positions, "probability"), from_the_end=0,
        ),
        make_step(
            "reshaped", "Back to one row a review: the answer after each word.", grid,
            input_shape=tuple(shown.shape), axes=(BATCH, SEQUENCE, *label), from_the_end=1,
        ),
        _verdict(network, grid, grid[:, -1]),
    ]  # fmt: skip


@torch.inference_mode()
def _head(network: LSTMClassifier, call: Call) -> list[Step]:
    """Pooling, the linear layer and the probabilities of a network that is not the article's."""
    pooled = call.outputs[0]
    logits, probabilities = _classify(network, pooled)
    pooling = {
        "last": "The state after the last word of each direction.",
        "mean": "The mean of the states over the real words.",
        "max": "The largest value of each feature over the real words.",
        "mean_max": "The mean and the largest value of each feature over the real words.",
    }
    return [
        make_step(
            "pooling", pooling[network.config.pooling], pooled,
            input_shape=tuple(call.inputs[0].shape), axes=(BATCH, "features"),
        ),
        make_step(
            "linear", "The fully connected layer: the features become one number a label.", logits,
            input_shape=tuple(pooled.shape), axes=(BATCH, "output"),
            parameters=_count_parameters(network.linear),
        ),
        make_step(
            *_squeeze(network), probabilities,
            input_shape=tuple(logits.shape), axes=(BATCH, "label"),
        ),
        _verdict(
            network, probabilities,
            probabilities[:, 1] if network.config.num_labels == 2 else probabilities,
        ),
    ]  # fmt: skip


def _classify(network: LSTMClassifier, features: Tensor) -> tuple[Tensor, Tensor]:
    """Logits `(n, num_outputs)` and probabilities `(n, num_labels)` of features."""
    logits = network.linear(features)
    squeezed = logits.squeeze(-1) if network.config.num_outputs == 1 else logits
    return logits, network.probabilities(squeezed)


def _count_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _squeeze(network: LSTMClassifier) -> tuple[str, str]:
    """Name and purpose of the step from logits to probabilities."""
    config = network.config
    name = "sigmoid" if config.num_labels == 2 else "softmax"
    what = "numbers between 0 and 1 that can be read as probabilities."
    if config.temperature != 1:
        what = f"divided by the temperature {config.temperature:g}, then squeezed: {what}"
    return name, what.capitalize()


def _verdict(network: LSTMClassifier, given: Tensor, verdict: Tensor) -> Step:
    names = network.config.label_names
    what = f"Final prediction: the probability of each of {', '.join(names)}."
    if len(names) == 2:
        what = f"Final sentiment prediction: the probability of {names[1]!r}."
    axes = (BATCH, "label")[: verdict.ndim]
    return make_step("verdict", what, verdict, input_shape=tuple(given.shape), axes=axes)
