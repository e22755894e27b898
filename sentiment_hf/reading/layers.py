"""The steps of our own network, from the words to the verdict, with the article's captions."""

from collections.abc import Sequence

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from sentiment_hf.data.batching import cut, pad_rows
from sentiment_hf.data.tokenization import UNK_TOKEN, encode_texts
from sentiment_hf.model.inference import in_evaluation_mode
from sentiment_hf.model.network import LSTMClassifier, reversed_positions, take_positions
from sentiment_hf.reading.trace import NUMBERS_SHOWN, ROWS_SHOWN, Step, count_parameters, make_step

BATCH, SEQUENCE, EMBEDDING, HIDDEN = "batch", "sequence", "embedding", "hidden"
POOLING = {
    "last": "The state after the last word of each direction.",
    "mean": "The mean of the states over the real words.",
    "max": "The largest value of each feature over the real words.",
    "mean_max": "The mean and the largest value of each feature over the real words.",
}


@torch.inference_mode()
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
    network = in_evaluation_mode(network)
    config = network.config
    as_grid = config.pooling == "last" and not config.bidirectional
    rows = [cut(np.asarray(ids), config.max_length) for ids in encode_texts(tokenizer, texts)]
    width = config.max_length if as_grid else None
    x = torch.from_numpy(pad_rows(rows, width, side="left" if as_grid else "right"))
    x = x.to(network.linear.weight.device)
    # The forward pass, step by step; both directions' states are aligned with the words.
    embedded, lengths = network.embed(x)
    states, backward_states = network.hidden_states(embedded, lengths)
    pooled = network.pooling(states, backward_states, lengths)

    def shown(sequence: Tensor) -> Tensor:
        return _right_aligned(sequence, lengths, x.shape[1]) if as_grid else sequence

    end = 1 if as_grid else None
    steps = [_words(tokenizer, texts), _ids(x, end)]
    if labels is not None:
        answers = torch.tensor(labels)
        steps.append(make_step("y", "The true label of each review.", answers, axes=(BATCH,)))
    steps += _embedding(network, shown(embedded), end)
    final = _final_states(network.lstm, embedded, lengths)
    steps += _lstm(network, "lstm", shown(states), final, end)
    if network.backward_lstm is not None and backward_states is not None:
        read = take_positions(embedded, reversed_positions(lengths, embedded.shape[1]))
        final = _final_states(network.backward_lstm, read, lengths)
        steps += _lstm(network, "backward_lstm", backward_states, final, end)
    if as_grid:
        grid = shown(states)
        flat = grid.reshape(-1, grid.shape[2])
        what = "All positions of all reviews in one row."
        first = make_step(
            "flattened", what, flat,
            input_shape=grid.shape, axes=("position", HIDDEN), from_the_end=0,
        )  # fmt: skip
        return [*steps, first, *_head(network, flat, tuple(grid.shape[:2]))]
    first = make_step(
        "pooling", POOLING[config.pooling], pooled,
        input_shape=states.shape, axes=(BATCH, "features"),
    )  # fmt: skip
    return [*steps, first, *_head(network, pooled)]


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
            "The vector of each word of the vocabulary: one row a word.",
            weight,
            axes=("vocabulary", EMBEDDING),
            parameters=weight.numel(),
        ),
        make_step(
            "embedding",
            "Each number is replaced by the vector of its word.",
            output,
            input_shape=output.shape[:2],
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
            parameters=count_parameters(getattr(network, name)),
        ),
        make_step(f"{name} final hidden state", hidden, final[0], axes=axes),
        make_step(f"{name} final cell state", cell, final[1], axes=axes),
    ]


def _final_states(module: nn.LSTM, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """The states after the last word of each row, by the LSTM itself on packed rows."""
    packed = nn.utils.rnn.pack_padded_sequence(
        inputs, lengths.cpu(), batch_first=True, enforce_sorted=False
    )
    return module(packed)[1]


def _right_aligned(sequence: Tensor, lengths: Tensor, width: int) -> Tensor:
    """Rows `(batch, seq, features)` aligned to the right in a grid; padding shows zeros."""
    grid = sequence.new_zeros(len(sequence), width, sequence.shape[2])
    for row, length in enumerate(lengths.tolist()):
        grid[row, width - length :] = sequence[row, :length]
    return grid


def _head(
    network: LSTMClassifier, features: Tensor, grid: tuple[int, ...] | None = None
) -> list[Step]:
    """The linear layer, the probabilities and the verdict.

    Args:
        features: `(batch, features)`, or all positions of the article's grid `(batch, sequence)`
            in one row: its verdict stands in the last column.
    """
    logits = network.linear(features)
    squeezed = logits.squeeze(-1) if network.config.num_outputs == 1 else logits
    probabilities = network.probabilities(squeezed)
    names, temperature = network.config.label_names, network.config.temperature
    two = len(names) == 2
    scaled = "" if temperature == 1 else f"divided by the temperature {temperature:g} and "
    of_labels = repr(names[1]) if two else f"each of {', '.join(names)}"
    if grid is None:
        axis, what, kind, end = BATCH, "the features become", "label", None
        answers, verdict = probabilities, probabilities[:, 1] if two else probabilities
    else:
        axis, what, kind, end = "position", "each state becomes", "probability", 0
        probabilities = probabilities[:, 1:] if two else probabilities
        answers = probabilities.reshape(grid if two else (*grid, -1))
        verdict = answers[:, -1]
    steps = [
        make_step(
            "linear", f"The fully connected layer: {what} one number a label.", logits,
            input_shape=features.shape, axes=(axis, "output"), from_the_end=end,
            parameters=count_parameters(network.linear),
        ),
        make_step(
            "sigmoid" if two else "softmax",
            f"Logits {scaled}squeezed between 0 and 1, which can be read as probabilities.",
            probabilities, input_shape=logits.shape, axes=(axis, kind), from_the_end=end,
        ),
        make_step(
            "reshaped", "Back to one row a review: the answer after each word.", answers,
            input_shape=probabilities.shape,
            axes=(BATCH, SEQUENCE, "label")[: answers.ndim], from_the_end=1,
        ),
        make_step(
            "verdict", f"Final prediction: the probability of {of_labels}.", verdict,
            input_shape=answers.shape, axes=(BATCH, "label")[: verdict.ndim],
        ),
    ]  # fmt: skip
    return steps if grid else [step for step in steps if step.name != "reshaped"]
