"""Which library computes the answers: torch, or ONNX Runtime without it."""

from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from sentiment_hf.errors import SentimentError
from sentiment_hf.export.onnx_folder import is_export

BACKENDS = ("auto", "onnx", "torch")


def pick_backend(
    backend: str, folder: Path, device: str | None, dtype: str | None
) -> Literal["onnx", "torch"]:
    """The library that is named, if it can do what is asked for; with `auto`, the one that fits."""
    if backend not in BACKENDS:
        raise SentimentError(f"There is no backend {backend!r}; there are {', '.join(BACKENDS)}.")
    exported = is_export(folder)
    if backend == "auto":
        free = device is None and dtype is None and all(map(find_spec, ("onnx", "onnxruntime")))
        backend = "onnx" if exported or free else "torch"
    if backend == "onnx" and (device not in (None, "cpu") or dtype not in (None, "float32")):
        raise SentimentError(
            "The ONNX backend computes on the CPU in float32: with another `device` or `dtype`"
            " choose the `backend` 'torch'."
        )
    if backend == "torch" and exported:
        raise SentimentError(f"{folder} holds an ONNX export, which the `backend` 'onnx' reads.")
    if backend == "torch" and find_spec("torch") is None:
        raise SentimentError("torch is not installed: the `backend` 'onnx' predicts without it.")
    return "onnx" if backend == "onnx" else "torch"
