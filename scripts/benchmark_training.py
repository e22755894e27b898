"""Measures training's speed, beside the tutorials' loop and a matrix product in the same run.

    python scripts/benchmark_training.py --dataset stanfordnlp/imdb

Prints the tables of docs/benchmarks.md on training; nothing else should compute meanwhile.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch
from benchmark import print_table, run_command, seconds_of
from datasets import Dataset, disable_progress_bars
from torch import nn
from torch.profiler import ProfilerActivity, profile

from sentiment_hf import LSTMConfig, LSTMForSequenceClassification, SentimentPipeline, load_reviews
from sentiment_hf.data.batching import EncodedRows, TrainingBatches, cut, pad_rows
from sentiment_hf.data.loading import DEFAULT_DATASET
from sentiment_hf.training.presets import get_preset
from sentiment_hf.training.run import processor_name, versions

# The tutorials pad every review to so many words.
TUTORIAL_LENGTHS = (200, 400)
TUTORIAL_BATCHES = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default=DEFAULT_DATASET)
    arguments = parser.parse_args()

    disable_progress_bars()
    print(f"{processor_name()}; {', '.join(' '.join(pair) for pair in versions().items())}")
    training(arguments.dataset, load_reviews(arguments.dataset, seed=0)["train"])


def training(dataset: str, train: Dataset) -> None:
    """Real words a second of this package's training and of the tutorials' loop."""
    with tempfile.TemporaryDirectory() as work:
        _, memory = run_command(
            "train", dataset, "--output", f"{work}/model", "--preset", "fast", "--epochs", 2
        )
        record = json.loads(Path(work, "model", "training.json").read_text())
    precision = record["hardware"]["precision"]
    first, second = record["history"]
    own = (second["words"] - first["words"]) / (second["seconds"] - first["seconds"])

    tokenizer = SentimentPipeline.from_pretrained().tokenizer
    preset = get_preset("fast")
    config = LSTMConfig(vocab_size=tokenizer.get_vocab_size(), **preset.network)
    count = min(TUTORIAL_BATCHES * preset.batch_size, len(train))
    rows = EncodedRows.from_split(train.shuffle(seed=0).select(range(count)), tokenizer, 2)
    tutorials = {
        length: tutorial_rate(rows, config, preset.batch_size, length)
        for length in TUTORIAL_LENGTHS
    }
    print_table(
        "Training",
        ("loop", "words a second", "this package's to it"),
        (f"this package, {precision}", f"{own:,.0f}", ""),
        *(
            (f"tutorials, padded to {length}", f"{rate:,.0f}", f"{own / rate:.1f} x")
            for length, rate in tutorials.items()
        ),
    )
    # Eight products a unit and word, of which four read the embedding and four the last state, in
    # two directions; the backward pass takes twice the forward pass.
    operations = 3 * 2 * 2 * 4 * config.hidden_size * (config.embedding_dim + config.hidden_size)
    product = matrix_product_rate()
    print_table(
        "What the processor gives",
        ("", ""),
        ("operations a word, forward and backward", f"{operations / 1e6:.2f} million"),
        ("operations a second, training", f"{own * operations / 1e9:,.0f} billion"),
        ("the same, a large bfloat16 matrix product", f"{product / 1e9:,.0f} billion"),
        ("share", f"{own * operations / product:.0%}"),
        ("highest memory of this training", f"{memory:.2f} GB"),
    )
    batches = TrainingBatches(rows, preset.batch_size, max_length=config.max_length)
    profile_training(LSTMForSequenceClassification(config), batches, precision)


def tutorial_rate(rows: EncodedRows, config: LSTMConfig, batch_size: int, length: int) -> float:
    """Real words a second of the tutorials' loop: float32, all reviews padded to one length."""
    network = LSTMForSequenceClassification(config).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    loss_function = nn.BCEWithLogitsLoss()
    words = 0
    start = time.perf_counter()
    for first in range(0, TUTORIAL_BATCHES * batch_size, batch_size):
        chosen = [i % len(rows) for i in range(first, first + batch_size)]
        batch = [cut(rows[i], length) for i in chosen]
        words += sum(map(len, batch))
        logits = network(torch.from_numpy(pad_rows(batch, length)))
        loss = loss_function(logits, torch.from_numpy(rows.labels[chosen]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return words / (time.perf_counter() - start)


def matrix_product_rate() -> float:
    """Operations a second of a large bfloat16 matrix product."""
    size = 2048
    left, right = (torch.randn(size, size, dtype=torch.bfloat16) for _ in range(2))
    left @ right
    return 2 * size**3 / statistics.median(seconds_of(torch.mm, left, right) for _ in range(20))


def profile_training(
    network: LSTMForSequenceClassification, batches: TrainingBatches, precision: str
) -> None:
    """Which operators the time goes to, and what a step costs in passes of inference."""
    some = list(batches.epoch(0))
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16")

    def train_steps() -> None:
        network.train()
        for batch in some:
            with autocast:
                loss = network.loss(network(batch.input_ids, batch.attention_mask), batch.labels)
            network.zero_grad()
            loss.backward()

    @torch.inference_mode()
    def infer() -> None:
        network.eval()
        for batch in some:
            with autocast:
                network(batch.input_ids, batch.attention_mask)

    train_steps()
    infer()
    ratio = seconds_of(train_steps) / seconds_of(infer)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        train_steps()
    events = sorted(profiled.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    print_table(
        "Where the time of training goes",
        ("operator", "share"),
        *((f"`{e.key}`", f"{e.self_cpu_time_total / total:.0%}") for e in events[:8]),
        ("forward and backward, in passes of inference", f"{ratio:.1f} x"),
    )


if __name__ == "__main__":
    main()
