"""The network as an ONNX graph, built from its weights: the same logits without torch.

Cutting, padding on any side and empty texts are handled in the graph, so that whoever runs it only
needs ids and a mask.
"""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sentiment_hf.data.batching import head_length
from sentiment_hf.errors import SentimentError, needs_extra
from sentiment_hf.model.config import LSTMConfig

if TYPE_CHECKING:
    from onnx import ModelProto

Dtype = Literal["float32", "float16", "int8"]
# Old enough for the runtimes in use, new enough for ReduceMax with its axes as an input.
OPSET = 18
IR_VERSION = 9
INT8_LEVELS = 127
NO_LIMIT = 2**40


def build_graph(config: LSTMConfig, weights: dict[str, np.ndarray], dtype: Dtype) -> bytes:
    """The content of `model.onnx`.

    Inputs are `input_ids` and `attention_mask`, both int64 `(batch, seq)`, padded on any side, for
    at least one text of any length. The output `logits` is float32, already divided by the
    temperature: `(batch, 2)` with zeros in the first column for two labels, so that a softmax gives
    the scores, else `(batch, num_labels)`.

    Args:
        weights: the tensors of `model.safetensors` in float32.
        dtype: how the weights are stored. The graph computes in float32, with `int8` the LSTM in
            int8 (dynamic quantisation, operators of ONNX Runtime).

    Raises:
        SentimentError: the package onnx is not installed.
    """
    graph = _Graph(weights, dtype)
    ids, lengths = _words(graph, config)
    pooled = _pooled(graph, config, ids, lengths)
    head = graph(
        "Gemm", pooled, graph.stored("linear.weight"), graph.stored("linear.bias"), transB=1
    )
    logits = graph("Div", head, graph.constant(np.float32(config.temperature)))
    if config.num_labels == 2:
        logits = graph("Pad", logits, graph.constant(np.array([0, 1, 0, 0])))
    model = graph.finished(logits, config.num_labels)
    return (_quantised(model) if dtype == "int8" else model).SerializeToString(deterministic=True)


class _Graph:
    """The graph so far; calling it adds a node and gives the name of its output."""

    def __init__(self, weights: dict[str, np.ndarray], dtype: Dtype) -> None:
        with needs_extra("onnx", "Building an ONNX graph needs onnx"):
            import onnx
        self.onnx = onnx
        self.weights = weights
        self.dtype = dtype
        self.nodes: list[Any] = []
        self.tensors: list[Any] = []

    def __call__(self, operator: str, *inputs: str, **attributes: Any) -> str:
        return self.outputs(1, operator, *inputs, **attributes)[0]

    def outputs(self, count: int, operator: str, *inputs: str, **attributes: Any) -> list[str]:
        names = [f"{operator}_{len(self.nodes)}_{i}" for i in range(count)]
        self.nodes.append(self.onnx.helper.make_node(operator, inputs, names, **attributes))
        return names

    def constant(self, values: Any, name: str | None = None) -> str:
        name = name or f"constant_{len(self.tensors)}"
        self.tensors.append(self.onnx.numpy_helper.from_array(np.asarray(values), name))
        return name

    def stored(self, name: str, values: np.ndarray | None = None) -> str:
        """A weight in float32, stored in half the bytes where that is asked for."""
        values = self.weights[name] if values is None else values
        if self.dtype != "float16":
            return self.constant(values, name)
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if not np.isfinite(half).all():
            raise SentimentError(f"{name} holds numbers that are too large for float16.")
        return self("Cast", self.constant(half, name), to=self.onnx.TensorProto.FLOAT)

    def finished(self, logits: str, columns: int) -> "ModelProto":
        helper, kinds = self.onnx.helper, self.onnx.TensorProto
        self.nodes.append(helper.make_node("Identity", [logits], ["logits"]))
        graph = helper.make_graph(
            self.nodes,
            "sentiment-lstm",
            [
                helper.make_tensor_value_info(name, kinds.INT64, ["batch", "seq"])
                for name in ("input_ids", "attention_mask")
            ],
            [helper.make_tensor_value_info("logits", kinds.FLOAT, ["batch", columns])],
            self.tensors,
        )
        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(
            graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="sentiment-hf"
        )
        self.onnx.checker.check_model(model)
        return model


def _words(graph: _Graph, config: LSTMConfig) -> tuple[str, str]:
    """The ids `(batch, longest)` that are read, aligned to the left, and their counts `(batch,)`.

    As `cut` and `left_align` do: of a text that is too long its head and tail, of an empty one an
    unknown word.
    """
    kinds, limit = graph.onnx.TensorProto, config.max_length or NO_LIMIT
    zero, one, first_axis, last_axis = (graph.constant(np.array(v)) for v in (0, 1, [0], [1]))
    # A column of padding is added, so that there is one.
    column = graph.constant(np.array([0, 0, 0, 1]))
    ids = graph("Pad", "input_ids", column, zero)
    real = graph("Cast", graph("Pad", "attention_mask", column, zero), to=kinds.BOOL)
    seq = graph("Gather", graph("Shape", ids), one)
    places = graph("Range", zero, seq, one)
    # In falling order: the real words as they stand, then the padding.
    order = graph("Where", real, graph("Sub", seq, places), graph("Neg", places))
    words_first = graph.outputs(2, "TopK", order, graph("Unsqueeze", seq, first_axis), axis=1)[1]
    count = graph("ReduceSum", graph("Cast", real, to=kinds.INT64), last_axis, keepdims=0)
    words = graph("Max", count, one)
    kept = graph("Min", words, graph.constant(np.array(limit)))
    positions = graph("Range", zero, graph("ReduceMax", kept, keepdims=0), one)
    dropped = graph("Unsqueeze", graph("Sub", words, kept), last_axis)
    in_head = graph("Less", positions, graph.constant(np.array(head_length(limit))))
    wanted = graph("Where", in_head, positions, graph("Add", positions, dropped))
    wanted = graph("Min", wanted, graph("Sub", seq, one))
    read = graph(
        "GatherElements", ids, graph("GatherElements", words_first, wanted, axis=1), axis=1
    )
    empty = graph("Unsqueeze", graph("Equal", count, zero), last_axis)
    return graph("Where", empty, graph.constant(np.array(config.unk_token_id)), read), kept


def _pooled(graph: _Graph, config: LSTMConfig, ids: str, lengths: str) -> str:
    """One vector a text `(batch, features)` from the states of its words."""
    kinds = graph.onnx.TensorProto
    axes = [graph.constant(np.array([axis])) for axis in range(3)]
    by_time = graph("Transpose", ids, perm=[1, 0])
    embedded, lengths32 = _embedded(graph, by_time), graph("Cast", lengths, to=kinds.INT32)
    directions = {"forward": "lstm", "reverse": "backward_lstm"}
    states, last = [], []
    for direction in list(directions)[: 1 + config.bidirectional]:
        below = embedded
        for layer in range(config.num_layers):
            inputs = [below, *_lstm_weights(graph, directions[direction], layer), lengths32]
            options = {"direction": direction, "hidden_size": config.hidden_size}
            above, final = graph.outputs(2, "LSTM", *inputs, **options)
            below = graph("Squeeze", above, axes[1])
        states.append(below)
        last.append(graph("Squeeze", final, axes[0]))
    if config.pooling == "last":
        return graph("Concat", *last, axis=1)
    zero, one = (graph.constant(np.array(value)) for value in (0, 1))
    seq = graph("Gather", graph("Shape", by_time), zero)
    positions = graph("Unsqueeze", graph("Range", zero, seq, one), axes[1])
    real = graph("Unsqueeze", graph("Less", positions, lengths), axes[2])
    pooled = []
    if config.pooling in ("mean", "mean_max"):
        nothing = graph.constant(np.float32(0))
        count = graph("Unsqueeze", graph("Cast", lengths, to=kinds.FLOAT), axes[1])
        for each in states:
            total = graph("ReduceSum", graph("Where", real, each, nothing), axes[0], keepdims=0)
            pooled.append(graph("Div", total, count))
    if config.pooling in ("max", "mean_max"):
        lowest = graph.constant(np.float32(-np.inf))
        for each in states:
            known = graph("Where", real, each, lowest)
            pooled.append(graph("ReduceMax", known, axes[0], keepdims=0))
    return graph("Concat", *pooled, axis=1)


def _embedded(graph: _Graph, ids: str) -> str:
    """Word vectors `(seq, batch, embedding_dim)`; as int8 with a scale for each word."""
    name = "embedding.weight"
    if graph.dtype != "int8":
        return graph("Gather", graph.stored(name), ids)
    values = graph.weights[name]
    scales = np.maximum(np.abs(values).max(axis=1, keepdims=True), 1e-12) / INT8_LEVELS
    levels = graph.constant(np.rint(values / scales).astype(np.int8), name)
    taken = graph("Cast", graph("Gather", levels, ids), to=graph.onnx.TensorProto.FLOAT)
    return graph("Mul", taken, graph("Gather", graph.constant(scales.astype(np.float32)), ids))


def _lstm_weights(graph: _Graph, name: str, layer: int) -> list[str]:
    """Weights of the inputs, of the states, and both biases, as the operator LSTM wants them."""

    def reordered(kind: str) -> np.ndarray:
        values = graph.weights[f"{name}.{kind}_l{layer}"]
        # Gates are input, forget, cell, output in torch; input, output, forget, cell in ONNX.
        return np.concatenate([np.split(values, 4)[gate] for gate in (0, 3, 1, 2)])[None]

    bias = np.concatenate([reordered("bias_ih"), reordered("bias_hh")], axis=1)
    return [
        graph.stored(f"{name}.weight_ih_l{layer}", reordered("weight_ih")),
        graph.stored(f"{name}.weight_hh_l{layer}", reordered("weight_hh")),
        graph.stored(f"{name}.bias_l{layer}", bias),
    ]


def _quantised(model: "ModelProto") -> "ModelProto":
    """The LSTM in int8; each row of its weights has a scale of its own.

    Seven bits of them are used: processors without VNNI add up products in 16 bits.
    """
    with needs_extra("onnx", "Storing as int8 needs onnxruntime"):
        import onnx
        from onnxruntime.quantization import quantize_dynamic
    # Without this note the library warns that it would like shapes inferred before.
    model.metadata_props.add(key="onnx.quant.pre_process", value="onnxruntime.quant")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        quantize_dynamic(
            model, path, op_types_to_quantize=["LSTM"], per_channel=True, reduce_range=True
        )
        return onnx.load(path)
