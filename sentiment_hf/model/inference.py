"""Logits of many texts: batches of like length through the network, answers in input order."""

from copy import deepcopy
from threading import Lock, Thread
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from sentiment_hf.arguments import check_whole
from sentiment_hf.data.batching import EncodedRows, make_batch, texts_of_like_length
from sentiment_hf.model.network import LSTMClassifier
from sentiment_hf.model.workers import WORDS_PER_BATCH, Batch, answer_batches

WORDS_PER_BATCH_ALONE = 16_384
Module = TypeVar("Module", bound=nn.Module)
_SETTING = Lock()


def evaluation_copy(module: Module) -> Module:
    """A copy in evaluation mode that shares the weights; what is done to it stays with it."""
    tensors = [*module.parameters(), *module.buffers()]
    return deepcopy(module, {id(tensor): tensor for tensor in tensors}).eval()


def in_evaluation_mode(module: Module) -> Module:
    """The module, or a copy of one that is training: other threads may compute with it now."""
    training = any(part.training for part in module.modules())
    return evaluation_copy(module) if training else module


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
    # Autocast is a state of the caller's thread.
    alone = device.type != "cpu" or torch.is_autocast_enabled("cpu")
    threads = 1 if alone else torch.get_num_threads()
    words = WORDS_PER_BATCH if threads > 1 else WORDS_PER_BATCH_ALONE
    outputs = network.config.num_outputs
    shape = (len(rows),) if outputs == 1 else (len(rows), outputs)
    logits = torch.empty(shape, dtype=torch.float32, device="cpu")

    @torch.inference_mode()
    def answer(batch: Batch) -> tuple[np.ndarray, Tensor]:
        here = make_batch(batch[1]).to(device)
        return batch[0], network(here.input_ids, here.attention_mask).float().cpu()

    batches = texts_of_like_length(rows, network.config.max_length, words, batch_size)
    for numbers, answers in answer_batches(answer, batches, threads, _compute_in_one_thread):
        logits[torch.from_numpy(numbers)] = answers
    return logits


def _compute_in_one_thread() -> None:
    """Bounds torch in this new thread; the rest of the process keeps its number of threads."""
    with _SETTING:
        default = torch.get_num_threads()
        torch.set_num_threads(1)  # That is the default of new threads, too, until the next line.
        restoring = Thread(target=torch.set_num_threads, args=(default,))
        restoring.start()
        restoring.join()
