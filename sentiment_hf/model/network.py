"""The network: embedding -> LSTM -> pooling -> linear.

Needs torch alone. Padding never counts: rows are left-aligned once, the forward direction runs from
their first word on, the backward direction over each row reversed within its own length, and the
pooling over the real words.
"""

import os
from functools import partial

import torch
from torch import Tensor, nn

from sentiment_hf.model.config import LSTMConfig, Pooling

if hasattr(os, "register_at_fork"):
    # torch's threads do not follow a fork, and the child would wait for them for ever.
    os.register_at_fork(after_in_child=partial(torch.set_num_threads, 1))


def left_align(input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    """Moves the real words of each row to its left end and counts them.

    Args:
        input_ids: `(batch, seq)`.
        attention_mask: `(batch, seq)`, non-zero where a word stands, padded on any side.

    Returns:
        The shifted ids `(batch, seq)` and the lengths `(batch,)`.
    """
    mask = attention_mask.bool()
    lengths = mask.sum(dim=1)
    right_padded = (mask[:, 1:] <= mask[:, :-1]).all()
    if not right_padded:
        words_first = torch.argsort(mask.logical_not().to(torch.int8), dim=1, stable=True)
        input_ids = input_ids.gather(1, words_first)
    return input_ids, lengths


def reversed_positions(lengths: Tensor, seq: int) -> Tensor:
    """Positions `(batch, seq)` that reverse each row within its own length; padding stays."""
    positions = torch.arange(seq, device=lengths.device)
    mirrored = lengths[:, None] - 1 - positions
    return torch.where(mirrored >= 0, mirrored, positions)


def take_positions(sequence: Tensor, positions: Tensor) -> Tensor:
    """`sequence` `(batch, seq, features)` at `positions` `(batch, seq)`."""
    batch, seq, _ = sequence.shape
    first = torch.arange(0, batch * seq, seq, device=positions.device)
    places = (first[:, None] + positions).flatten()
    # Whole vectors are taken: on a CPU several times as fast as a gather number by number.
    return sequence.flatten(0, 1).index_select(0, places).view_as(sequence)


class WordPooling(nn.Module):
    """One vector a text from the states of its real words."""

    def __init__(self, kind: Pooling) -> None:
        super().__init__()
        self.kind = kind

    def forward(
        self, forward_states: Tensor, backward_states: Tensor | None, lengths: Tensor
    ) -> Tensor:
        """Pools `(batch, seq, hidden_size)` of each direction to `(batch, features)`."""
        directions = [states for states in (forward_states, backward_states) if states is not None]
        if self.kind == "last":
            rows = torch.arange(len(lengths), device=lengths.device)
            last = [forward_states[rows, lengths - 1], *(back[:, 0] for back in directions[1:])]
            return torch.cat(last, dim=-1)
        real = torch.arange(forward_states.shape[1], device=lengths.device) < lengths[:, None]
        pooled = []
        if self.kind in ("mean", "mean_max"):
            # A matrix product sums without a second copy of the states in float32.
            ones = real[:, None].to(forward_states.dtype)
            count = lengths[:, None].to(forward_states.dtype)
            pooled += [torch.bmm(ones, states).squeeze(1) / count for states in directions]
        if self.kind in ("max", "mean_max"):
            padding = ~real[..., None]
            pooled += [states.masked_fill(padding, -torch.inf).amax(dim=1) for states in directions]
        return torch.cat(pooled, dim=-1)

    def extra_repr(self) -> str:
        return self.kind


class LSTMClassifier(nn.Module):
    """The forward pass: token ids in, logits out; see `LSTMForSequenceClassification`.

    The backward direction is a second stack of LSTM layers over each row reversed within its own
    length. With several layers the two directions stay apart, so that each
    is a language model's encoder (as in ELMo, Peters et al. 2018, arXiv:1802.05365).
    """

    def __init__(self, config: LSTMConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(
            config.vocab_size, config.embedding_dim, padding_idx=config.pad_token_id
        )
        nn.init.normal_(self.embedding.weight, std=config.embedding_dim**-0.5)
        with torch.no_grad():
            self.embedding.weight[config.pad_token_id].zero_()
        self.lstm = self._make_lstm()
        self.backward_lstm = self._make_lstm() if config.bidirectional else None
        self.pooling = WordPooling(config.pooling)
        self.dropout = nn.Dropout(config.dropout)
        self.linear = nn.Linear(config.pooled_size, config.num_outputs)

    def _make_lstm(self) -> nn.LSTM:
        config = self.config
        return nn.LSTM(
            config.embedding_dim,
            config.hidden_size,
            num_layers=config.num_layers,
            batch_first=True,
            dropout=config.dropout if config.num_layers > 1 else 0.0,
        )

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Logits of each text.

        Args:
            input_ids: `(batch, seq)`, padded on any side.
            attention_mask: `(batch, seq)`; without it every `pad_token_id` is padding.

        Returns:
            `(batch,)` for two labels (the logit of the second), `(batch, num_labels)` otherwise.
        """
        embedded, lengths = self.embed(input_ids, attention_mask)
        return self.classify(embedded, lengths)

    def embed(
        self, input_ids: Tensor, attention_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Word vectors `(batch, seq, embedding_dim)` padded on the right, and lengths `(batch,)`.

        In training, whole words and whole coordinates are dropped, the same coordinates at every
        position of a row (Gal & Ghahramani 2016, arXiv:1512.05287).
        """
        config = self.config
        if attention_mask is None:
            attention_mask = input_ids != config.pad_token_id
        if input_ids.shape[1] == 0:
            input_ids = input_ids.new_full((len(input_ids), 1), config.pad_token_id)
            attention_mask = torch.zeros_like(input_ids)
        input_ids, lengths = left_align(input_ids, attention_mask)
        embedded = self.embedding(
            input_ids.masked_fill((lengths == 0)[:, None], config.unk_token_id)
        )
        lengths = lengths.clamp(min=1)
        if self.training and config.word_dropout:
            kept = torch.rand(embedded.shape[:2], device=embedded.device) >= config.word_dropout
            embedded = embedded * kept[..., None]
        if self.training and config.embedding_dropout:
            ones = embedded.new_ones(embedded.shape[0], 1, embedded.shape[2])
            embedded = embedded * nn.functional.dropout(ones, config.embedding_dropout)
        return embedded, lengths

    def hidden_states(self, embedded: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor | None]:
        """The hidden states of the last layer, of both directions.

        Returns:
            Forward states `(batch, seq, hidden_size)`: at each word, of the text up to it. Backward
            states of the same shape: at each word, of the text from its end down to it (None where
            `bidirectional` is false). The states of padding mean nothing.
        """
        forward_states = self.lstm(embedded)[0]
        if self.backward_lstm is None:
            return forward_states, None
        positions = reversed_positions(lengths, embedded.shape[1])
        backward_states = self.backward_lstm(take_positions(embedded, positions))[0]
        return forward_states, take_positions(backward_states, positions)

    def classify(self, embedded: Tensor, lengths: Tensor) -> Tensor:
        """Logits from word vectors `(batch, seq, embedding_dim)` padded on the right."""
        pooled = self.pooling(*self.hidden_states(embedded, lengths), lengths)
        logits = self.linear(self.dropout(pooled))
        return logits.squeeze(-1) if self.config.num_outputs == 1 else logits

    def probabilities(self, logits: Tensor) -> Tensor:
        """Calibrated probabilities `(batch, num_labels)` in float32.

        The temperature is fitted on validation texts (Guo et al. 2017, arXiv:1706.04599).
        """
        scaled = logits.float() / self.config.temperature
        if self.config.num_labels == 2:
            return torch.stack([torch.sigmoid(-scaled), torch.sigmoid(scaled)], dim=-1)
        return torch.softmax(scaled, dim=-1)

    def loss(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """Mean cross-entropy between `logits` and `labels`, a scalar in float32.

        Args:
            labels: probabilities, `(batch,)` of the second label for two labels,
                `(batch, num_labels)` otherwise.
            weights: `(batch,)`, what each row counts.
        """
        logits = logits.float()
        if self.config.num_labels == 2:
            labels = torch.stack([1 - labels, labels], dim=-1)
            logits = torch.stack([torch.zeros_like(logits), logits], dim=-1)
        losses = nn.functional.cross_entropy(logits, labels, reduction="none")
        return losses.mean() if weights is None else (losses * weights).mean()
