"""The language model that pretrains embedding and LSTM on text without labels."""

import math

import torch
from torch import Tensor, nn

from sentiment_hf.data.batching import Batch, TrainingBatches
from sentiment_hf.model.network import LSTMClassifier
from sentiment_hf.training.loop import Validate

# Gradients go back at most that many words: longer texts are cut into pieces.
WINDOW = 128
# Words that a CPU samples for the softmax; a GPU computes all.
CANDIDATES = 1024
# Words whose scores over the vocabulary are computed at once when perplexity is measured.
SLICE = 256


class LanguageModel(nn.Module):
    """The network's embedding and LSTM, with a softmax over words on top.

    The forward direction guesses each next word, the backward direction each previous one. The
    softmax shares its weights with the embedding (Press & Wolf 2017, arXiv:1608.05859).

    Args:
        network: what is pretrained; its linear layer stays as it is.
        candidates: train the softmax on that many sampled words instead of all of them
            (Jean et al. 2015, arXiv:1412.2007), which is what a CPU can afford.
    """

    chances: Tensor

    def __init__(self, network: LSTMClassifier, candidates: int | None = None) -> None:
        super().__init__()
        config = network.config
        self.network = network
        network.linear.requires_grad_(False)
        self.dropout = nn.Dropout(config.dropout)
        self.projection = nn.Linear(config.hidden_size, config.embedding_dim)
        self.backward_projection = (
            nn.Linear(config.hidden_size, config.embedding_dim) if config.bidirectional else None
        )
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.candidates = candidates
        # Words are numbered by falling frequency, so their chances follow Zipf's law.
        ranks = torch.arange(config.vocab_size, dtype=torch.float64)
        chances = ((ranks + 2) / (ranks + 1)).log() / torch.tensor(config.vocab_size + 1.0).log()
        self.register_buffer("chances", chances.float(), persistent=False)

    def forward(self, batch: Batch) -> Tensor:
        """Mean negative log-likelihood per guessed word, in nats, a scalar."""
        ids, mask = batch.input_ids, batch.attention_mask
        embedded, lengths = self.network.embed(ids, mask)
        forward_states, backward_states = self.network.hidden_states(embedded, lengths)
        pairs = mask[:, 1:]  # A word and the one before it, as rows are padded on the right.
        losses = [self._guess(self.projection, forward_states[:, :-1][pairs], ids[:, 1:][pairs])]
        if self.backward_projection is not None and backward_states is not None:
            states, previous = backward_states[:, 1:][pairs], ids[:, :-1][pairs]
            losses.append(self._guess(self.backward_projection, states, previous))
        return torch.stack(losses).mean()

    def _guess(self, projection: nn.Module, states: Tensor, words: Tensor) -> Tensor:
        vectors = projection(self.dropout(states))
        weight = self.network.embedding.weight
        if not (self.training and self.candidates):
            # All scores of a batch at once are a gigabyte, which takes a CPU seven times as long.
            size = len(words) if self.training else SLICE
            losses = [
                nn.functional.cross_entropy(
                    nn.functional.linear(some, weight, self.bias).float(), right, reduction="sum"
                )
                for some, right in zip(vectors.split(size), words.split(size), strict=True)
            ]
            return torch.stack(losses).sum() / len(words)
        sampled = torch.multinomial(self.chances, self.candidates, replacement=True).unique()
        expected = -torch.expm1(self.candidates * torch.log1p(-self.chances))
        correction = self.bias - expected.log()
        logits = nn.functional.linear(vectors, weight[sampled], correction[sampled]).float()
        logits = logits.masked_fill(sampled == words[:, None], -torch.inf)
        true_vectors = nn.functional.embedding(words, weight)
        true_logits = (vectors.float() * true_vectors.float()).sum(-1) + correction[words]
        everything = torch.logaddexp(logits.logsumexp(dim=-1), true_logits)
        return (everything - true_logits).mean()


def guess_words(model: nn.Module, batch: Batch) -> Tensor:
    """The language model's objective."""
    return model(batch)


def perplexity_validator(batches: TrainingBatches) -> Validate:
    """Measures the perplexity of a word, over all words of the vocabulary; less is better."""

    def validate(model: nn.Module) -> tuple[float, dict[str, float]]:
        model.eval()
        device = next(model.parameters()).device
        total, count = 0.0, 0
        with torch.inference_mode():
            for batch in batches.epoch(0):
                guesses = int(batch.attention_mask[:, 1:].sum())
                total += float(model(batch.to(device))) * guesses
                count += guesses
        model.train()
        return -total / count, {"perplexity": math.exp(total / count)}

    return validate
