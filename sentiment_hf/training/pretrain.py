"""`pretrain`: embedding and LSTM as a language model, from text without labels."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tokenizers import Tokenizer

from sentiment_hf.arguments import check_rate, check_whole
from sentiment_hf.checkpoint.download import model_name
from sentiment_hf.checkpoint.pretrained import LSTMForSequenceClassification
from sentiment_hf.checkpoint.tokenizer_file import write_tokenizer
from sentiment_hf.checkpoint.weights import read_encoder, write_encoder
from sentiment_hf.data.batching import EncodedRows, TrainingBatches
from sentiment_hf.data.loading import DatasetSource, dataset_name, load_reviews
from sentiment_hf.data.tokenization import SMALLEST_VOCAB_SIZE
from sentiment_hf.errors import SentimentError
from sentiment_hf.model.config import LARGEST_SIZE
from sentiment_hf.training.language_model import (
    LanguageModel,
    guess_words,
    guessing_windows,
    perplexity_validator,
    start_from_word_vectors,
)
from sentiment_hf.training.presets import PRETRAINING, Pretraining
from sentiment_hf.training.run import TrainingRun, find_source, tokenizer_and_config
from sentiment_hf.training.texts import pretraining_texts

logger = logging.getLogger(__name__)


def pretrain(
    dataset: DatasetSource,
    output: str | Path,
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
    settings = _settings(epochs, learning_rate, vocab_size, batch_size)
    source = find_source(init_from, vocab_size)
    run = TrainingRun(
        output, resume=resume, overwrite=overwrite, device=device, dtype=dtype, seed=seed,
        show_progress=show_progress,
    )  # fmt: skip
    if run.is_finished:
        return run.folder.path
    reviews = load_reviews(
        dataset, seed=seed, config=config, revision=revision, text_column=text_column,
        label_column=label_column, label_map=label_map, max_samples=max_samples,
    )  # fmt: skip
    texts, held_out = pretraining_texts(reviews, splits, seed)
    tokenizer, network_config = tokenizer_and_config(source, texts["text"], settings)
    rows = EncodedRows.from_split(texts, tokenizer, None)
    windows = guessing_windows(rows, settings.window)
    held_rows = EncodedRows.from_split(held_out, tokenizer, None)
    held_windows = guessing_windows(held_rows, settings.window)
    if not len(windows) or not len(held_windows):
        raise SentimentError("The texts are too short to guess a next word in them.")
    is_new = run.begin(
        {
            "init_from": None if init_from is None else model_name(init_from),
            **settings.record(),
            "seed": seed,
        },
        {
            "dataset": dataset_name(dataset),
            "revision": revision,
            "fingerprint": texts._fingerprint,
            "train_rows": len(texts),
            "validation_rows": len(held_out),
        },
        network_config,
    )
    network = LSTMForSequenceClassification(network_config)
    if source is not None:
        read_encoder(source, network)
    elif is_new:
        start_from_word_vectors(network, rows, seed)
    _fit_and_write(run, network, windows, held_windows, settings, tokenizer)
    return run.folder.path


def _fit_and_write(
    run: TrainingRun,
    network: LSTMForSequenceClassification,
    windows: EncodedRows,
    held_windows: EncodedRows,
    settings: Pretraining,
    tokenizer: Tokenizer,
) -> None:
    held_batches = TrainingBatches(held_windows, settings.batch_size, seed=0, by_words=True)
    is_cpu = run.accelerator.device.type == "cpu"
    history = run.fit(
        LanguageModel(network, settings.candidates if is_cpu else None),
        guess_words,
        run.batches(windows, settings, by_words=True),
        settings.trainer,
        perplexity_validator(held_batches, run.accelerator),
    )

    def fill(folder: Path) -> None:
        write_tokenizer(folder, tokenizer)
        write_encoder(folder, network)

    run.write({"perplexity": min(entry["validation_perplexity"] for entry in history)}, fill)


def _settings(
    epochs: int | None,
    learning_rate: float | None,
    vocab_size: int | None,
    batch_size: int | None,
) -> Pretraining:
    check_whole("epochs", epochs)
    check_whole("vocab_size", vocab_size, least=SMALLEST_VOCAB_SIZE, most=LARGEST_SIZE)
    check_whole("batch_size", batch_size)
    check_rate("learning_rate", learning_rate)
    trainer = PRETRAINING.trainer
    return replace(
        PRETRAINING,
        trainer=replace(
            trainer,
            epochs=epochs or trainer.epochs,
            learning_rate=learning_rate or trainer.learning_rate,
        ),
        vocab_size=vocab_size or PRETRAINING.vocab_size,
        batch_size=batch_size or PRETRAINING.batch_size,
    )
