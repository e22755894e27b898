"""`pretrain`: embedding and LSTM as a language model, from text without labels."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from sentiment_hf.checkpoint.tokenizer_file import write_tokenizer
from sentiment_hf.checkpoint.weights import write_encoder
from sentiment_hf.data.batching import EncodedRows, TrainingBatches
from sentiment_hf.data.loading import DatasetSource, dataset_name, load_reviews
from sentiment_hf.errors import SentimentError
from sentiment_hf.model.device import plain_torch
from sentiment_hf.training.language_model import (
    CANDIDATES,
    WINDOW,
    LanguageModel,
    guess_words,
    perplexity_validator,
)
from sentiment_hf.training.presets import PRETRAINING
from sentiment_hf.training.run import TrainingRun
from sentiment_hf.training.texts import pretraining_texts


@plain_torch()
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
        init_from: start from the words, embedding and LSTM of this MODEL: a checkpoint, or what
            `pretrain` made (of general texts, say, to get used to those of one field).

    Returns:
        The folder.

    Raises:
        SentimentError: unusable data or arguments, an occupied `output`, a loss that is no number.
    """
    settings = PRETRAINING.changed(
        epochs=epochs, learning_rate=learning_rate, vocab_size=vocab_size, batch_size=batch_size
    )
    run = TrainingRun(
        output, settings, init_from=init_from, vocab_size=vocab_size, resume=resume,
        overwrite=overwrite, device=device, dtype=dtype, seed=seed, show_progress=show_progress,
    )  # fmt: skip
    if run.is_finished:
        return run.folder.path
    reviews = load_reviews(
        dataset, seed=seed, config=config, revision=revision, text_column=text_column,
        label_column=label_column, label_map=label_map, max_samples=max_samples,
    )  # fmt: skip
    texts, held_out = pretraining_texts(reviews, splits, seed)
    tokenizer, network_config = run.tokenizer_and_config(texts["text"])
    rows = EncodedRows.from_split(texts, tokenizer)
    held_rows = EncodedRows.from_split(held_out, tokenizer)
    # In a piece of one word there is nothing to guess.
    windows, held_windows = (part.windows(WINDOW, shortest=2) for part in (rows, held_rows))
    if not len(windows) or not len(held_windows):
        raise SentimentError("The texts are too short to guess a next word in them.")
    data = {
        "dataset": dataset_name(dataset),
        "revision": revision,
        "fingerprint": texts._fingerprint,
        "train_rows": len(texts),
        "validation_rows": len(held_out),
    }
    run.begin({"window": WINDOW}, data, network_config)
    network = run.new_network(network_config, rows)
    model = LanguageModel(network, CANDIDATES if run.accelerator.device.type == "cpu" else None)
    held_batches = TrainingBatches(held_windows, settings.batch_size, seed=0)
    history = run.fit(
        model, guess_words, windows, perplexity_validator(held_batches), by_words=True
    )

    def fill(folder: Path) -> None:
        write_tokenizer(folder, tokenizer)
        write_encoder(folder, network)

    run.write({"perplexity": min(entry["validation_perplexity"] for entry in history)}, fill)
    return run.folder.path
