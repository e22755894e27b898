"""The language model that pretrains embedding and LSTM on text without labels."""

import torch
from torch import Tensor, nn

from sentiment_hf.batching import Batch
from sentiment_hf.network import LSTMClassifier


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
        forward_states, backward_states = self.network.read(embedded, lengths)
        both = mask[:, 1:] & mask[:, :-1]
        losses = [self._guess(self.projection, forward_states[:, :-1][both], ids[:, 1:][both])]
        if self.backward_projection is not None and backward_states is not None:
            states, previous = backward_states[:, 1:][both], ids[:, :-1][both]
            losses.append(self._guess(self.backward_projection, states, previous))
        return torch.stack(losses).mean()

    def _guess(self, projection: nn.Module, states: Tensor, words: Tensor) -> Tensor:
        vectors = projection(self.dropout(states))
        weight = self.network.embedding.weight
        if not (self.training and self.candidates):
            return nn.functional.cross_entropy(
                nn.functional.linear(vectors, weight, self.bias).float(), words
            )
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
