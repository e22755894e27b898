"""The formats of the command `export`."""

from pathlib import Path
from typing import Any

from sentiment_hf.errors import SentimentError


def export(
    model: str | Path | None,
    output: str | Path,
    name: str,
    dtype: Any = None,
    libraries: Path | None = None,
) -> Path:
    """Writes a checkpoint in a format; see `export_onnx`, `export_transformers`, `export_web`."""
    if name != "web" and libraries is not None:
        raise SentimentError(f"`libraries` is for web: {name} takes none.")
    if name == "web":
        from sentiment_hf.export.web_folder import export_web

        return export_web(model, output, dtype=dtype, libraries=libraries)
    if name == "onnx":
        from sentiment_hf.export.onnx_folder import export_onnx

        return export_onnx(model, output, dtype=dtype)
    if dtype is not None:
        raise SentimentError(f"`dtype` is for onnx and web: {name} gets the weights as they are.")
    from sentiment_hf.export.transformers_folder import export_transformers

    return export_transformers(model, output)
