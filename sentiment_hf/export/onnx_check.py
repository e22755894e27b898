"""Whether a stranger's `model.onnx` is the graph of its configuration, with weights of its own.

A graph is a program: another one could take any time and memory.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sentiment_hf.errors import SentimentError, needs_extra
from sentiment_hf.export.onnx import Dtype, build_graph
from sentiment_hf.model.config import LSTMConfig

if TYPE_CHECKING:
    from onnx import GraphProto, TensorProto

# What the file holds beside its weights.
LARGEST_REST = 2**20


def check_graph(graph: bytes, config: LSTMConfig, path: Path) -> None:
    """Refuses a graph that differs in more than its weights from what `build_graph` makes."""
    with needs_extra("onnx", "Reading an ONNX export needs onnx"):
        import onnx
        from google.protobuf.message import DecodeError
    refusal = SentimentError(
        f"{path} is not the graph that this version of sentiment-hf makes of its configuration,"
        " and is not run: export the checkpoint again."
    )
    shapes = config.weight_shapes()
    # Each weight has a byte at least: no memory is taken for more than the file holds.
    if sum(map(np.prod, shapes.values())) > len(graph) + LARGEST_REST:
        raise refusal
    try:
        model = onnx.load_model_from_string(graph)
    except DecodeError as error:
        raise refusal from error
    ones = {name: np.ones(shape, dtype=np.float32) for name, shape in shapes.items()}
    expected = onnx.load_model_from_string(build_graph(config, ones, _dtype(model.graph)))
    if model.functions or model.opset_import != expected.opset_import:
        raise refusal
    for tensor in (*model.graph.initializer, *expected.graph.initializer):
        _without_values(tensor)
    if model.graph != expected.graph:
        raise refusal
    for tensor in onnx.load_model_from_string(graph).graph.initializer:
        if tensor.dims and not np.isfinite(onnx.numpy_helper.to_array(tensor)).all():
            raise SentimentError(f"{path}: {tensor.name} holds numbers that are not finite.")


def _dtype(graph: "GraphProto") -> Dtype:
    """How the weights of a graph are stored."""
    from onnx import TensorProto

    kinds = {tensor.data_type for tensor in graph.initializer}
    if TensorProto.FLOAT16 in kinds:
        return "float16"
    return "int8" if kinds & {TensorProto.INT8, TensorProto.UINT8} else "float32"


def _without_values(tensor: "TensorProto") -> None:
    """Takes the values out of a weight: scalars and whole numbers steer the computation."""
    from onnx import TensorProto

    if tensor.dims and tensor.data_type not in (TensorProto.INT64, TensorProto.INT32):
        tensor.ClearField("raw_data")
        tensor.ClearField("float_data")
