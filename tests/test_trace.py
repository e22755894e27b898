"""The calls in a forward pass of any module."""

import contextlib

import pytest
import torch
from torch import nn, ones
from torch.nn.utils.rnn import pack_padded_sequence
from torch.testing import assert_close

from sentiment_hf.reading import trace

STATE_AXES = ("layer", "batch")


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
