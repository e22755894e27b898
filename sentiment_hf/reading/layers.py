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
    states = _states(network, calls)
    lengths = torch.tensor([len(row) for row in rows], device=x.device)

    steps = [_words(tokenizer, texts), _ids(x, labels, as_grid)]
    if labels is not None:
        answers = torch.tensor(labels)
        steps.append(make_step("y", "The true label of each review.", answers, axes=(BATCH,)))
    steps += _embedding(network, calls["embedding"], lengths, as_grid)
    steps += _lstm(network, "lstm", states[0], calls["embedding"].outputs[0], lengths, as_grid)
    if states[1] is not None:
        backward = calls["backward_lstm"].inputs[0]
        steps += _lstm(network, "backward_lstm", states[1], backward, lengths, as_grid)
    if as_grid:
        return steps + _grid_head(network, _to_the_right(states[0], lengths, x.shape[1]))
    return steps + _head(network, calls)


def _states(network: LSTMClassifier, calls: dict[str, Call]) -> tuple[Tensor, Tensor | None]:
    """Forward and backward states, both aligned with the words."""
    given = calls["pooling"].inputs
    return given[0], given[1] if network.backward_lstm is not None else None


def _words(tokenizer: Tokenizer, texts: Sequence[str]) -> Step:
    words = [
        tokenizer.encode(text).tokens[:NUMBERS_SHOWN] or [UNK_TOKEN] for text in texts[:ROWS_SHOWN]
    ]
    what = "The reviews, cut into words; [UNK] stands for a word that the tokenizer does not know."
    return Step("text", what, (), (len(texts),), (BATCH,), "string", 0, words)


def _ids(x: Tensor, labels: Sequence[int] | None, as_grid: bool) -> Step:
    side = "left" if as_grid else "right"
    what = f"Each word as its number in the vocabulary, padded with 0 on the {side}."
    return make_step(
        "X",
        what,
        x,
        input_shape=(len(x),),
        axes=(BATCH, SEQUENCE),
        from_the_end=1 if as_grid else None,
    )


def _embedding(network: LSTMClassifier, call: Call, lengths: Tensor, as_grid: bool) -> list[Step]:
    weight = network.embedding.weight
    output = call.outputs[0]
    shown = _to_the_right(output, lengths, network.config.max_length) if as_grid else output
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
            shown,
            input_shape=tuple(shown.shape[:2]),
            axes=(BATCH, SEQUENCE, EMBEDDING),
            from_the_end=1 if as_grid else None,
        ),
    ]


def _lstm(
    network: LSTMClassifier,
    name: str,
    states: Tensor,
    read: Tensor,
    lengths: Tensor,
    as_grid: bool,
) -> list[Step]:
    """Output and final states of one direction; the first state is zero."""
    module = getattr(network, name)
    shown = _to_the_right(states, lengths, network.config.max_length) if as_grid else states
    backward = name == "backward_lstm"
    order = "from the last word to the first" if backward else "word by word, left to right"
    hidden, cell = _final_states(module, read, lengths)
    axes = ("layer", BATCH, HIDDEN)
    end = "first" if backward else "last"
    return [
        make_step(
            name,
            f"Reads {order}, starting from a state of zeros; one state after each word.",
            shown,
            input_shape=(*shown.shape[:2], network.config.embedding_dim),
            axes=(BATCH, SEQUENCE, HIDDEN),
            from_the_end=1 if as_grid else None,
            parameters=sum(parameter.numel() for parameter in module.parameters()),
        ),
        make_step(
            f"{name} final hidden state", f"What it shows after the {end} word.", hidden, axes=axes
        ),
        make_step(
            f"{name} final cell state", f"What it remembers after the {end} word.", cell, axes=axes
        ),
    ]


@torch.inference_mode()
def _final_states(module: nn.LSTM, read: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """The states after each row's own last word: the LSTM itself, told where each row ends."""
    packed = nn.utils.rnn.pack_padded_sequence(
        read, lengths.cpu(), batch_first=True, enforce_sorted=False
    )
    with evaluation_mode(module):
        return module(packed)[1]


def _to_the_right(sequence: Tensor, lengths: Tensor, width: int | None) -> Tensor:
    """Rows `(batch, seq, features)` aligned to the right in a grid; padding shows zeros."""
    width = width or sequence.shape[1]
    grid = sequence.new_zeros(len(sequence), width, sequence.shape[2])
    for row, length in enumerate(lengths.tolist()):
        grid[row, width - length :] = sequence[row, :length]
    return grid


@torch.inference_mode()
def _grid_head(network: LSTMClassifier, states: Tensor) -> list[Step]:
    """The article's last steps: the head at every position, the verdict in the last column."""
    batch, width, hidden = states.shape
    flat = states.reshape(-1, hidden)
    logits = network.linear(flat)
    squeezed = logits.squeeze(-1) if network.config.num_outputs == 1 else logits
    probabilities = network.probabilities(squeezed)
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
            parameters=sum(p.numel() for p in network.linear.parameters()),
        ),
        make_step(
            _squeeze_name(network), _squeeze_what(network), shown,
            input_shape=tuple(logits.shape), axes=(positions, "probability"), from_the_end=0,
        ),
        make_step(
            "reshaped", "Back to one row a review: the answer after each word.", grid,
            input_shape=tuple(shown.shape), axes=(BATCH, SEQUENCE, *label), from_the_end=1,
        ),
        make_step(
            "verdict", _verdict_what(network), grid[:, -1],
            input_shape=tuple(grid.shape), axes=(BATCH, *label),
        ),
    ]  # fmt: skip


@torch.inference_mode()
def _head(network: LSTMClassifier, calls: dict[str, Call]) -> list[Step]:
    config = network.config
    pooled = calls["pooling"].outputs[0]
    logits = calls["linear"].outputs[0]
    probabilities = network.probabilities(logits.squeeze(-1) if config.num_outputs == 1 else logits)
    two = config.num_labels == 2
    verdict = probabilities[:, 1] if two else probabilities
    pooling = {
        "last": "The state after the last word of each direction.",
        "mean": "The mean of the states over the real words.",
        "max": "The largest value of each feature over the real words.",
        "mean_max": "The mean and the largest value of each feature over the real words.",
    }
    return [
        make_step(
            "pooling", pooling[config.pooling], pooled,
            input_shape=tuple(calls["pooling"].inputs[0].shape), axes=(BATCH, "features"),
        ),
        make_step(
            "linear", "The fully connected layer: the features become one number a label.", logits,
            input_shape=tuple(pooled.shape), axes=(BATCH, "output"),
            parameters=sum(p.numel() for p in network.linear.parameters()),
        ),
        make_step(
            _squeeze_name(network), _squeeze_what(network), probabilities,
            input_shape=tuple(logits.shape), axes=(BATCH, "label"),
        ),
        make_step(
            "verdict", _verdict_what(network), verdict,
            input_shape=tuple(probabilities.shape), axes=(BATCH,) if two else (BATCH, "label"),
        ),
    ]  # fmt: skip


def _squeeze_name(network: LSTMClassifier) -> str:
    return "sigmoid" if network.config.num_labels == 2 else "softmax"


def _squeeze_what(network: LSTMClassifier) -> str:
    temperature = network.config.temperature
    first = (
        "" if temperature == 1 else f"Divided by the temperature {temperature:g}, then squeezed: "
    )
    return f"{first}numbers between 0 and 1 that can be read as probabilities.".capitalize()


def _verdict_what(network: LSTMClassifier) -> str:
    names = network.config.label_names
    if len(names) == 2:
        return f"Final sentiment prediction: the probability of {names[1]!r}."
    return f"Final prediction: the probability of each of {', '.join(names)}."
