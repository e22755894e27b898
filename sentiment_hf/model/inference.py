"""Logits of many texts: batches of like length through the network, answers in input order."""

from copy import deepcopy
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from sentiment_hf.arguments import check_whole
from sentiment_hf.data.batching import EncodedRows, make_batch, texts_of_like_length
from sentiment_hf.model.network import LSTMClassifier

WORDS_PER_BATCH = 16_384
Module = TypeVar("Module", bound=nn.Module)


def evaluation_copy(module: Module) -> Module:
    """A copy in evaluation mode that shares the weights; what is done to it stays with it."""
    tensors = [*module.parameters(), *module.buffers()]
    return deepcopy(module, {id(tensor): tensor for tensor in tensors}).eval()


def in_evaluation_mode(module: Module) -> Module:
    """The module, or a copy of one that is training: other threads may compute with it now."""
    training = any(part.training for part in module.modules())
    return evaluation_copy(module) if training else module


@torch.inference_mode()
def predict_logits(
    network: LSTMClassifier,
    rows: EncodedRows | list[np.ndarray],
    *,
    batch_size: int | None = None,
) -> Tensor:
    """Logits of each row, in order, in float32 on the CPU.

    Args:
        batch_size: at most that many rows in one forward pass; the number of words bounds it too.

    Returns:
        `(rows,)` for two labels, `(rows, num_labels)` otherwise.

    Raises:
        SentimentError: a `batch_size` that is none.
    """
    check_whole("batch_size", batch_size)
    network = in_evaluation_mode(network)
    device = network.linear.weight.device
    outputs = network.config.num_outputs
    logits = torch.empty((len(rows),) if outputs == 1 else (len(rows), outputs))
    for numbers, texts in texts_of_like_length(
        rows, network.config.max_length, WORDS_PER_BATCH, batch_size
    ):
        here = make_batch(texts).to(device)
        answers = network(here.input_ids, here.attention_mask)
        logits[torch.from_numpy(numbers)] = answers.float().cpu()
    return logits
