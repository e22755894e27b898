"""`import sentiment_hf.transformers`: transformers opens our checkpoints, without remote code.

`AutoConfig`, `AutoModelForSequenceClassification` and `pipeline("text-classification")` then read
any of them (extra `transformers`).
"""

from sentiment_hf.errors import SentimentError

try:
    from transformers import AutoConfig, AutoModelForSequenceClassification
except ImportError as error:
    raise SentimentError(
        "Reading a checkpoint with transformers needs it: pip install 'sentiment-hf[transformers]'."
    ) from error

from sentiment_hf.export.modeling_sentiment_lstm import (
    SentimentLSTMConfig,
    SentimentLSTMForSequenceClassification,
)

AutoConfig.register(SentimentLSTMConfig.model_type, SentimentLSTMConfig)
AutoModelForSequenceClassification.register(
    SentimentLSTMConfig, SentimentLSTMForSequenceClassification
)
