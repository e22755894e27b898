"""Reading between the layers: what the network does to a text on its way to the verdict."""

from sentiment_hf.reading.trace import Step, trace

__all__ = ["Step", "trace"]
