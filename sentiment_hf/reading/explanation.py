"""What each word contributes to the answer, by `captum` (extra `explain`)."""

from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from sentiment_hf.data.batching import cut
from sentiment_hf.data.tokenization import UNK_ID
from sentiment_hf.errors import needs_extra
from sentiment_hf.model.device import plain_torch
from sentiment_hf.model.inference import evaluation_copy
from sentiment_hf.model.network import LSTMClassifier
from sentiment_hf.reading.trajectory import between

WORDS_AT_ONCE = 64
INTEGRATION_STEPS = 64


@dataclass(frozen=True)
class Explanation:
    """The words of a text and what each contributes.

    Attributes:
        label: the label that the contributions are for.
        probability: of that label, for the whole text.
        words: as they stand in the text; those that a cut left out are missing.
        deletion: by how much the probability falls when the word is deleted. True by construction.
        gradients: integrated gradients of the logit, summed over a word's vector (Sundararajan,
            Taly & Yan 2017, arXiv:1703.01365), from vectors of zeros.
        completeness_error: how far the gradients' sum is from the difference of the logits that
            they divide up, as a share of it.
    """

    label: str
    probability: float
    words: list[str]
    deletion: list[float]
    gradients: list[float]
    completeness_error: float


@plain_torch()
def explain(network: LSTMClassifier, tokenizer: Tokenizer, text: str) -> Explanation:
    """What each word contributes to the label that the text gets.

    Raises:
        SentimentError: captum is not installed.
    """
    with needs_extra("explain", "Explaining needs captum"):
        from captum.attr import FeatureAblation, IntegratedGradients
    encoding = tokenizer.encode(text, add_special_tokens=False)
    kept = cut(np.arange(max(len(encoding.ids), 1)), network.config.max_length)
    ids = torch.tensor(encoding.ids or [UNK_ID])[kept][None].to(network.linear.weight.device)
    words = [between(text, encoding.offsets, i, i + 1) for i in kept] if encoding.ids else [text]
    network = evaluation_copy(network)
    for lstm in (network.lstm, network.backward_lstm):
        if lstm is not None:  # cuDNN gives an LSTM no gradients in evaluation mode.
            lstm.dropout = 0.0
            lstm.train()
    with torch.no_grad():
        probabilities = network.probabilities(network(ids))[0]
        label = int(probabilities.argmax())

        def probability(mask: Tensor) -> Tensor:
            logits = network(ids.expand(len(mask), -1), mask)
            return network.probabilities(logits)[:, label]

        everything = torch.ones_like(ids, dtype=torch.float32)
        deletion = FeatureAblation(probability).attribute(
            everything, baselines=0, perturbations_per_eval=WORDS_AT_ONCE
        )
        vectors, lengths = network.embed(ids)

    def logit(vectors: Tensor) -> Tensor:
        logits = network.classify(vectors, lengths.expand(len(vectors)))
        if network.config.num_outputs > 1:
            return logits[:, label]
        return logits if label == 1 else -logits

    gradients = IntegratedGradients(logit).attribute(vectors, n_steps=INTEGRATION_STEPS)
    with torch.no_grad():
        difference = float(logit(vectors) - logit(torch.zeros_like(vectors)))
    missing = abs(float(gradients.sum()) - difference)
    return Explanation(
        network.config.label_names[label],
        float(probabilities[label]),
        words,
        deletion[0].tolist(),
        gradients[0].sum(dim=-1).tolist(),
        missing / max(abs(difference), 1e-9),
    )
