"""The ONNX graph: logits as torch's, whatever the padding, and small weights."""

import itertools

import numpy as np
import onnxruntime
import pytest
import torch
from onnx_checkpoints import sharpened, weights_of

from sentiment_hf.data.batching import cut
from sentiment_hf.export.onnx import build_graph

POOLINGS = ["last", "mean", "max", "mean_max"]
LENGTHS = [3, 0, 9, 1, 14, 6]


def size_of(network, dtype) -> int:
    return len(build_graph(network.config, weights_of(network), dtype))


def graph_of(network, dtype="float32"):
    graph = build_graph(network.config, weights_of(network), dtype)
    session = onnxruntime.InferenceSession(graph)
    return lambda ids, mask: session.run(
        ["logits"], {"input_ids": ids.numpy(), "attention_mask": mask.numpy()}
    )[0]


def padded(rows, side, seq=16):
    """Ids and mask `(batch, seq)`; with `between`, padding stands in the middle of each text."""
    ids, mask = torch.full((len(rows), seq), 7), torch.zeros(len(rows), seq, dtype=torch.long)
    for line, row in enumerate(rows):
        count = len(row)
        places = {
            "right": range(count),
            "left": range(seq - count, seq),
            "between": [*range(count // 2), *range(seq - count + count // 2, seq)],
        }[side]
        ids[line, list(places)] = torch.as_tensor(row, dtype=torch.long)
        mask[line, list(places)] = 1
    return ids, mask


def expected_logits(network, rows):
    """What torch answers to each text alone, cut as prediction cuts it."""
    answers = []
    for row in rows:
        ids = torch.as_tensor(cut(row, network.config.max_length), dtype=torch.long)[None]
        logits = network(ids, torch.ones_like(ids)) / network.config.temperature
        answers.append([0, logits.item()] if network.config.num_labels == 2 else logits[0].tolist())
    return np.array(answers)


def some_rows(seed=0):
    dice = np.random.default_rng(seed)
    return [dice.integers(2, 12, length) for length in LENGTHS]


@pytest.mark.parametrize("side", ["right", "left", "between"])
@pytest.mark.parametrize(
    ("pooling", "bidirectional", "layers", "labels"),
    itertools.product(POOLINGS, [True, False], [1, 3], [2, 4]),
)
@torch.inference_mode()
def test_the_graph_answers_as_torch_does_to_each_text_alone(
    make_network, pooling, bidirectional, layers, labels, side
):
    network = sharpened(
        make_network(
            labels=labels, pooling=pooling, bidirectional=bidirectional, num_layers=layers,
            max_length=8, temperature=0.7, dropout=0.5, word_dropout=0.5, embedding_dropout=0.5,
        )
    )  # fmt: skip
    rows, answer = some_rows(), graph_of(network)
    expected = expected_logits(network, rows)
    assert expected.std(axis=0).max() > 0.05
    np.testing.assert_allclose(answer(*padded(rows, side)), expected, atol=1e-5)
    for row, one in zip(rows, expected):
        np.testing.assert_allclose(answer(*padded([row], side))[0], one, atol=1e-5)


@pytest.mark.parametrize("max_length", [1, 2, 5, 8, 200, None])
@torch.inference_mode()
def test_the_graph_keeps_head_and_tail_of_a_longer_text(make_network, max_length):
    network = sharpened(make_network(max_length=max_length))
    rows = some_rows()
    answers = graph_of(network)(*padded(rows, "right"))
    np.testing.assert_allclose(answers, expected_logits(network, rows), atol=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize(("batch", "seq"), [(1, 0), (3, 0), (2, 1), (2, 5)])
@torch.inference_mode()
def test_a_text_may_have_no_words(make_network, pooling, batch, seq):
    network = sharpened(make_network(pooling=pooling))
    nothing = torch.zeros(batch, seq, dtype=torch.long)
    answers = graph_of(network)(nothing, nothing)
    expected = expected_logits(network, [np.array([1])] * batch)
    np.testing.assert_allclose(answers, expected, atol=1e-5)


@torch.inference_mode()
def test_float16_weights_are_stored_in_half_the_bytes_and_answer_the_same(make_network):
    network = sharpened(make_network(hidden_size=64)).half().float()
    sizes = [
        len(build_graph(network.config, weights_of(network), d)) for d in ("float16", "float32")
    ]
    assert sizes[0] < 0.6 * sizes[1]
    batch = padded(some_rows(), "right")
    np.testing.assert_array_equal(graph_of(network, "float16")(*batch), graph_of(network)(*batch))


@torch.inference_mode()
def test_int8_is_smaller_still_and_close(make_network):
    network = sharpened(make_network(hidden_size=64, num_layers=2))
    assert size_of(network, "int8") < 0.7 * size_of(network, "float16")
    batch = padded(some_rows(), "left")
    difference = abs(graph_of(network, "int8")(*batch) - graph_of(network)(*batch))
    assert 0 < difference.max() < 0.1


def test_the_shapes_of_the_weights_are_those_of_the_network(make_network):
    for pooling, directions, layers, labels in itertools.product(
        POOLINGS, [True, False], [1, 2], [2, 3]
    ):
        network = make_network(
            pooling=pooling, bidirectional=directions, num_layers=layers, labels=labels
        )
        shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
        assert network.config.weight_shapes() == shapes
