"""`import sentiment_hf.transformers`: transformers opens our checkpoints, without remote code.

`AutoConfig`, `AutoModelForSequenceClassification` and `pipeline("text-classification")` then read
any of them (extra `transformers`).
"""

from sentiment_hf.errors import needs_extra

with needs_extra("transformers", "Reading a checkpoint with transformers needs it"):
    from transformers import AutoConfig, AutoModelForSequenceClassification

from sentiment_hf.export.modeling_sentiment_lstm import (
    SentimentLSTMConfig,
    SentimentLSTMForSequenceClassification,
)

AutoConfig.register(SentimentLSTMConfig.model_type, SentimentLSTMConfig)
AutoModelForSequenceClassification.register(
    SentimentLSTMConfig, SentimentLSTMForSequenceClassification
)
