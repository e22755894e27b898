"""Sentiment LSTMs for the Hugging Face Hub: load, use, train and look inside.

Names are imported when they are first used: prediction needs neither `datasets` nor a
metrics library.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from sentiment_hf.version import __version__

if TYPE_CHECKING:
    from sentiment_hf.checkpoint.pretrained import LSTMForSequenceClassification
    from sentiment_hf.data.batching import make_loader
    from sentiment_hf.data.loading import load_reviews
    from sentiment_hf.data.tokenization import train_tokenizer
    from sentiment_hf.errors import SentimentError
    from sentiment_hf.evaluation import evaluate
    from sentiment_hf.model.config import LSTMConfig
    from sentiment_hf.pipeline import SentimentPipeline
    from sentiment_hf.training.pretrain import pretrain
    from sentiment_hf.training.train import train

# Otherwise ONNX Runtime writes a number of this machine into the home and sends it to its makers.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_HOMES = {
    "LSTMConfig": "model.config",
    "LSTMForSequenceClassification": "checkpoint.pretrained",
    "SentimentError": "errors",
    "SentimentPipeline": "pipeline",
    "evaluate": "evaluation",
    "load_reviews": "data.loading",
    "make_loader": "data.batching",
    "pretrain": "training.pretrain",
    "train": "training.train",
    "train_tokenizer": "data.tokenization",
}

__all__ = [
    "LSTMConfig",
    "LSTMForSequenceClassification",
    "SentimentError",
    "SentimentPipeline",
    "__version__",
    "evaluate",
    "load_reviews",
    "make_loader",
    "pretrain",
    "train",
    "train_tokenizer",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
