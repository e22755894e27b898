"""Sentiment LSTM for transformers: embedding -> LSTM, one or both ways -> pooling -> linear.

This file stands alone: it needs torch and transformers, and is copied beside a checkpoint as it is.
`tokenizer(texts, padding=True)` without truncation gives the inputs: `forward` keeps head and tail
of a text of more than `max_length` words.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

HEAD_SHARE = 0.25


class SentimentLSTMConfig(PretrainedConfig):
    """What builds the network, as `config.json` holds it."""

    model_type = "sentiment-lstm"

    def __init__(
        self,
        vocab_size: int = 30_000,
        embedding_dim: int = 128,
        hidden_size: int = 128,
        num_layers: int = 1,
        bidirectional: bool = True,
        pooling: str = "mean_max",
        dropout: float = 0.0,
        embedding_dropout: float = 0.0,
        word_dropout: float = 0.0,
        max_length: int | None = 400,
        pad_token_id: int = 0,
        unk_token_id: int = 1,
        temperature: float = 1.0,
        **kwargs: Any,
    ) -> None:
        own = {name: value for name, value in locals().items() if name in self.own_fields()}
        # The file may hold float16, which is for storing; it is computed in float32.
        super().__init__(**{**kwargs, "dtype": "float32"})
        for name, value in own.items():
            setattr(self, name, value)

    @classmethod
    def own_fields(cls) -> list[str]:
        names = cls.__init__.__code__.co_varnames[: cls.__init__.__code__.co_argcount]
        return [name for name in names if name != "self"]

    def to_diff_dict(self) -> dict[str, Any]:
        """All that builds the network, also where it happens to be a default of transformers."""
        own = {name: getattr(self, name) for name in self.own_fields()}
        labels = {"id2label": self.id2label, "label2id": self.label2id}
        return {**super().to_diff_dict(), **own, **labels}

    def _get_generation_parameters(self) -> dict[str, Any]:
        # `max_length` and `temperature` are not about generating text here.
        return {}

    _get_non_default_generation_parameters = _get_generation_parameters  # Of transformers 4.


class SentimentLSTMForSequenceClassification(PreTrainedModel):
    """Logits, of which a softmax makes calibrated scores.

    The backward direction is a second LSTM that reads each row reversed within its own length.
    """

    config_class = SentimentLSTMConfig
    base_model_prefix = ""

    def __init__(self, config: SentimentLSTMConfig) -> None:
        super().__init__(config)
        labels = len(config.id2label or {})
        features = config.hidden_size * (1 + config.bidirectional)
        features *= 2 if config.pooling == "mean_max" else 1
        self.embedding = nn.Embedding(
            config.vocab_size, config.embedding_dim, padding_idx=config.pad_token_id
        )
        self.lstm = self._make_lstm()
        self.backward_lstm = self._make_lstm() if config.bidirectional else None
        self.linear = nn.Linear(features, 1 if labels == 2 else labels)
        self.post_init()

    def _make_lstm(self) -> nn.LSTM:
        config = self.config
        dropout = config.dropout if config.num_layers > 1 else 0.0
        sizes = (config.embedding_dim, config.hidden_size, config.num_layers)
        return nn.LSTM(*sizes, batch_first=True, dropout=dropout)

    def _init_weights(self, module: nn.Module) -> None:
        """Every module keeps what it begins with."""

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embedding

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        **_: Any,
    ) -> SequenceClassifierOutput:
        """Logits `(batch, num_labels)` of ids `(batch, seq)` padded on any side.

        For two labels the first column is 0. `labels` `(batch,)` are class ids; the loss is the
        mean cross-entropy.
        """
        ids, lengths = self._words(input_ids, attention_mask)
        embedded = self._drop_words(self.embedding(ids))
        places = torch.arange(ids.shape[1], device=ids.device)
        real = (places < lengths[:, None])[..., None]
        states = [self.lstm(embedded)[0]]
        if self.backward_lstm is not None:
            mirrored = lengths[:, None] - 1 - places
            mirrored = torch.where(mirrored >= 0, mirrored, places)[..., None]
            read = self.backward_lstm(embedded.take_along_dim(mirrored, dim=1))[0]
            states.append(read.take_along_dim(mirrored, dim=1))
        pooling, pooled = self.config.pooling, []
        if pooling == "last":
            ends = [(lengths - 1)[:, None, None], torch.zeros_like(lengths)[:, None, None]]
            pooled = [each.take_along_dim(e, dim=1)[:, 0] for each, e in zip(states, ends)]
        if pooling in ("mean", "mean_max"):
            pooled += [(each * real).sum(dim=1) / lengths[:, None] for each in states]
        if pooling in ("max", "mean_max"):
            pooled += [each.masked_fill(~real, -torch.inf).amax(dim=1) for each in states]
        features = nn.functional.dropout(
            torch.cat(pooled, dim=-1), self.config.dropout, self.training
        )
        logits = self.linear(features) / self.config.temperature
        if self.config.num_labels == 2:
            logits = torch.cat([torch.zeros_like(logits), logits], dim=-1)
        loss = None if labels is None else nn.functional.cross_entropy(logits.float(), labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)

    def _words(self, ids: Tensor, attention_mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """The ids that are read, aligned to the left, and how many they are in each row."""
        config = self.config
        mask = ids != config.pad_token_id if attention_mask is None else attention_mask.bool()
        ids, mask = nn.functional.pad(ids, (0, 1)), nn.functional.pad(mask, (0, 1))
        words_first = torch.argsort((~mask).to(torch.int8), dim=1, stable=True)
        count = mask.sum(dim=1)
        lengths = count.clamp(min=1, max=config.max_length)
        places = torch.arange(int(lengths.max()), device=ids.device).expand(len(ids), -1)
        if config.max_length is not None:
            dropped = (count.clamp(min=1) - lengths)[:, None]
            head = int(config.max_length * HEAD_SHARE)
            places = torch.where(places < head, places, places + dropped)
        places = places.clamp(max=ids.shape[1] - 1)
        read = ids.take_along_dim(words_first.take_along_dim(places, dim=1), dim=1)
        # An empty text is read as one unknown word.
        return read.masked_fill((count == 0)[:, None], config.unk_token_id), lengths

    def _drop_words(self, embedded: Tensor) -> Tensor:
        """In training, whole words and whole coordinates are dropped."""
        if not self.training:
            return embedded
        kept = torch.rand_like(embedded[..., :1]) >= self.config.word_dropout
        ones = torch.ones_like(embedded[:, :1])
        return embedded * kept * nn.functional.dropout(ones, self.config.embedding_dropout)
