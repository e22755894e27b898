"""Logits of many texts: batches of like length through the network, answers in input order."""

import numpy as np
import torch
from torch import Tensor

from sentiment_hf.arguments import check_whole
from sentiment_hf.data.batching import EncodedRows, make_batch, texts_of_like_length
from sentiment_hf.model.network import LSTMClassifier

WORDS_PER_BATCH = 16_384


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
    device = network.linear.weight.device
    was_training = network.training
    network.eval()
    outputs = network.config.num_outputs
    logits = torch.empty((len(rows),) if outputs == 1 else (len(rows), outputs))
    for numbers, texts in texts_of_like_length(
        rows, network.config.max_length, WORDS_PER_BATCH, batch_size
    ):
        here = make_batch(texts).to(device)
        answers = network(here.input_ids, here.attention_mask)
        logits[torch.from_numpy(numbers)] = answers.float().cpu()
    network.train(was_training)
    return logits
