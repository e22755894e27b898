"""`pretrain`: embedding and LSTM as a language model, from text without labels."""

import dataclasses
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate.utils import set_seed

from sentiment_hf.arguments import check_rate, check_whole
from sentiment_hf.checkpoint.download import model_name
from sentiment_hf.checkpoint.files import write_json
from sentiment_hf.checkpoint.folder import (
    TRAINING_FILE,
    read_encoder,
    write_encoder,
    write_tokenizer,
)
from sentiment_hf.data.batching import EncodedRows
from sentiment_hf.data.loading import DEFAULT_DATASET, dataset_name, load_reviews
from sentiment_hf.data.tokenization import SMALLEST_VOCAB_SIZE
from sentiment_hf.errors import SentimentError
from sentiment_hf.model.config import LARGEST_SIZE
from sentiment_hf.model.network import LSTMClassifier
from sentiment_hf.training.language_model import (
    guessing_windows,
    learn_language,
    start_from_word_vectors,
)
from sentiment_hf.training.presets import PRETRAINING
from sentiment_hf.training.rows import texts_to_read
from sentiment_hf.training.run import (
    OutputFolder,
    describe_run,
    find_source,
    precision_of,
    start_accelerator,
    words_and_sizes,
)

logger = logging.getLogger(__name__)


def pretrain(
    dataset: str | Path = DEFAULT_DATASET,
    output: str | Path = "",
    *,
    splits: Sequence[str] | None = None,
    init_from: str | Path | None = None,
    epochs: int | None = None,
    learning_rate: float | None = None,
    vocab_size: int | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    device: str | None = None,
    dtype: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    show_progress: bool = True,
    config: str | None = None,
    revision: str | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    label_map: Mapping[str, str] | None = None,
    max_samples: int | None = None,
) -> Path:
    """Pretrains embedding and LSTM on the texts of a data set and writes them into a folder.

    Texts that also stand in the test split or among the validation rows of `train` (with the same
    seed) are left out; on the validation rows the perplexity is measured.

    Args:
        dataset, config, revision, text_column, label_column, label_map, max_samples: as in
            `load_reviews`.
        output: the folder to write, for `train(init_from=...)`.
        splits: whose texts are read; all but `test` by default.
        init_from: go on from the words, embedding and LSTM of this MODEL: a checkpoint, or what
            `pretrain` made (of general texts, say, to get used to those of one field).

    Returns:
        The folder.

    Raises:
        SentimentError: unusable data or arguments, an occupied `output`, a loss that is no number.
    """
    check_whole("epochs", epochs)
    check_whole("vocab_size", vocab_size, least=SMALLEST_VOCAB_SIZE, most=LARGEST_SIZE)
    check_whole("batch_size", batch_size)
    check_rate("learning_rate", learning_rate)
    reading: dict[str, Any] = {
        "config": config,
        "revision": revision,
        "text_column": text_column,
        "label_column": label_column,
        "label_map": label_map,
        "max_samples": max_samples,
    }
    source = find_source(init_from, vocab_size)
    target = OutputFolder(output)
    if target.is_finished(resume=resume, overwrite=overwrite):
        return target.path
    settings = dataclasses.replace(
        PRETRAINING,
        loop=dataclasses.replace(
            PRETRAINING.loop,
            epochs=epochs or PRETRAINING.loop.epochs,
            learning_rate=learning_rate or PRETRAINING.loop.learning_rate,
        ),
        vocab_size=vocab_size or PRETRAINING.vocab_size,
        batch_size=batch_size or PRETRAINING.batch_size,
    )
    started = time.monotonic()
    accelerator = start_accelerator(device, dtype)

    texts, held_out = texts_to_read(load_reviews(dataset, seed=seed, **reading), splits, seed)
    tokenizer, network_config = words_and_sizes(source, texts["text"], settings)
    arguments = {
        "init_from": None if init_from is None else model_name(init_from),
        "epochs": settings.loop.epochs,
        "learning_rate": settings.loop.learning_rate,
        "batch_size": settings.batch_size,
        "window": settings.window,
        "seed": seed,
    }
    data = {
        "dataset": dataset_name(dataset),
        "revision": revision,
        "fingerprint": texts._fingerprint,
        "train_rows": len(texts),
        "validation_rows": len(held_out),
    }
    rows = EncodedRows.from_split(texts, tokenizer, None)
    windows = guessing_windows(rows, settings.window)
    held_windows = guessing_windows(
        EncodedRows.from_split(held_out, tokenizer, None), settings.window
    )
    if not len(windows) or not len(held_windows):
        raise SentimentError("The texts are too short to guess a next word in them.")
    target.begin(accelerator, resume=resume)
    set_seed(seed)
    network = LSTMClassifier(network_config)
    if source is not None:
        read_encoder(source, network)
    elif not target.state.exists():
        start_from_word_vectors(network, rows, seed)
    preparation = time.monotonic() - started
    history = learn_language(
        network,
        windows,
        held_windows,
        settings,
        seed=seed,
        accelerator=accelerator,
        state=target.state,
        identity={
            **arguments,
            "config": network_config.to_dict(),
            "data": data,
            "dtype": precision_of(accelerator),
        },
        show_progress=show_progress,
    )
    record = {
        "arguments": arguments,
        "data": data,
        "perplexity": min(entry["validation_perplexity"] for entry in history),
        **describe_run(history, preparation, accelerator),
    }

    def write(folder: Path) -> None:
        write_encoder(folder, network)
        write_tokenizer(folder, tokenizer, network_config.max_length)
        write_json(folder / TRAINING_FILE, record)

    target.replace(accelerator, write)
    return target.path
