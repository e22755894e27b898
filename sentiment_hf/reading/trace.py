"""A forward pass, step by step, of any `nn.Module`: `trace(module, *inputs)`.

Captured with hooks, so the numbers are those of the pass itself.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from sentiment_hf.model.inference import evaluation_copy

ROWS_SHOWN = 3
NUMBERS_SHOWN = 6
STATE_AXES = {3: ("layer", "batch", "hidden"), 2: ("layer", "hidden")}

WHAT = {
    "Embedding": "Looks up the vector of each id.",
    "LSTM": "Reads the sequence step by step and carries a memory along.",
    "GRU": "Reads the sequence step by step and carries a state along.",
    "Linear": "Weighs all features into each output.",
    "Dropout": "Drops features in training; passes them on otherwise.",
    "LayerNorm": "Centres and scales the features of each position.",
    "Sigmoid": "Squeezes each number between 0 and 1.",
    "Softmax": "Turns numbers into probabilities that sum to 1.",
    "ReLU": "Sets negative numbers to 0.",
    "Tanh": "Squeezes each number between -1 and 1.",
}


@dataclass(frozen=True)
class Step:
    """One step between the layers.

    Attributes:
        name: the module's name in the network, or what the tensor is.
        what: what the step is for, in one sentence.
        input_shape, output_shape: sizes of the tensors; empty where there is none.
        axes: the name of each axis of the output.
        dtype: of the output.
        parameters: how many numbers of the step were learnt.
        values: a small extract of the output, nested like it.
    """

    name: str
    what: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    axes: tuple[str, ...]
    dtype: str
    parameters: int = 0
    values: Any = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def trace(module: nn.Module, *inputs: Any, **keywords: Any) -> list[Step]:
    """What each module without children does to its input, in the order of the calls.

    A copy that shares the weights is run once, in evaluation mode and without gradients: what other
    threads do with the module at the same time is not seen.

    Args:
        inputs, keywords: what the module's `forward` takes.
    """
    calls: list[list[Step]] = []
    begun: list[int] = []
    own = evaluation_copy(module)
    names = {part: name or type(part).__name__ for name, part in own.named_modules()}

    def begin(part: nn.Module, given: Any) -> None:
        begun.append(len(calls))

    def note(part: nn.Module, given: Any, named: Any, result: Any) -> None:
        if begun.pop() == len(calls):  # It called no other module.
            calls.append(_steps_of(names[part], part, _flat([given, named]), _flat(result)))

    for part in names:
        part.register_forward_pre_hook(begin)
        part.register_forward_hook(note, with_kwargs=True)
    with torch.inference_mode():
        own(*inputs, **keywords)
    return [step for steps in calls for step in steps]


def _flat(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, PackedSequence):
        return [value.data]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [tensor for part in value for tensor in _flat(part)]
    return []


def _steps_of(
    name: str, module: nn.Module, inputs: list[Tensor], outputs: list[Tensor]
) -> list[Step]:
    """A call as steps: one for each tensor that came out of it."""
    kind = type(module).__name__
    shape = inputs[0].shape if inputs else ()
    parameters = count_parameters(module)
    parts = ["", " final hidden state", " final cell state"]
    if not isinstance(module, nn.RNNBase):
        parts = ["", *(f" output {number}" for number in range(1, len(outputs)))]
    what = WHAT.get(kind, f"A {kind}.")
    return [
        make_step(
            name + part,
            what,
            output,
            input_shape=shape,
            axes=STATE_AXES[output.ndim] if "final" in part else (),
            parameters=0 if part else parameters,
        )
        for part, output in zip(parts, outputs, strict=False)
    ]


def count_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def make_step(
    name: str,
    what: str,
    output: Tensor,
    *,
    input_shape: Sequence[int] = (),
    axes: tuple[str, ...] = (),
    parameters: int = 0,
    from_the_end: int | None = None,
) -> Step:
    """A step whose shape, type and values are read off its output."""
    return Step(
        name,
        what,
        tuple(input_shape),
        tuple(output.shape),
        axes or _guessed_axes(output.ndim),
        str(output.dtype).removeprefix("torch."),
        parameters,
        extract(output, from_the_end),
    )


def _guessed_axes(count: int) -> tuple[str, ...]:
    if count <= 3:
        return ("batch", "sequence", "features")[:count] if count != 2 else ("batch", "features")
    return ("batch", *(f"axis {number}" for number in range(1, count)))


def extract(tensor: Tensor, from_the_end: int | None = None) -> Any:
    """The first few numbers of a tensor (the last few along one axis), nested like it, rounded."""
    last = tensor.ndim - 1
    for axis in range(tensor.ndim):
        size = min(tensor.shape[axis], NUMBERS_SHOWN if axis == last else ROWS_SHOWN)
        start = tensor.shape[axis] - size if axis == from_the_end else 0
        tensor = tensor.narrow(axis, start, size)
    return _rounded(
        tensor.detach().cpu().float().tolist() if tensor.is_floating_point() else tensor.tolist()
    )


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(part) for part in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value
