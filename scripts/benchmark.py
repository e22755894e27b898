"""Measures speed and memory, always beside a named peer in the same run.

    python scripts/benchmark.py --dataset stanfordnlp/imdb

Prints the tables of docs/benchmarks.md; nothing else should compute meanwhile. DistilBERT has
random weights (extra `bench`): its speed does not depend on them.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from datasets import Dataset, concatenate_datasets, disable_progress_bars
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from torch import nn
from torch.profiler import ProfilerActivity, profile
from transformers import DistilBertConfig, DistilBertForSequenceClassification

from sentiment_hf import LSTMConfig, LSTMForSequenceClassification, SentimentPipeline, load_reviews
from sentiment_hf.data.batching import EncodedRows, TrainingBatches, cut, pad_rows
from sentiment_hf.data.loading import DEFAULT_DATASET
from sentiment_hf.data.tokenization import encode_texts
from sentiment_hf.training.presets import get_preset
from sentiment_hf.training.run import processor_name, versions

LATENCY_TEXTS = 100
# The tutorials pad every review to so many words.
TUTORIAL_LENGTHS = (200, 400)
TUTORIAL_BATCHES = 10

Classify = Callable[[list[str]], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default=DEFAULT_DATASET)
    parser.add_argument("--reviews", type=int, default=6_000, help="whole reviews to classify")
    parser.add_argument("--peer-reviews", type=int, default=128, help="of them for DistilBERT")
    parser.add_argument("--rows", type=int, default=100_000, help="rows to annotate")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()

    disable_progress_bars()
    print(f"{processor_name()}; {', '.join(' '.join(pair) for pair in versions().items())}")
    reviews = load_reviews(arguments.dataset, seed=0)
    train, test = reviews["train"], reviews["test"].shuffle(seed=0)
    texts = list(test.select(range(min(arguments.reviews, len(test))))["text"])

    # Child processes first: their memory and time owe nothing to what this one holds.
    cold_start(arguments.repeats)
    annotation(train, arguments.rows)
    training(arguments.dataset, train)
    inference(texts, train, arguments.peer_reviews, arguments.repeats)


def print_table(title: str, *rows: Sequence[object]) -> None:
    head, *body = ("| " + " | ".join(map(str, row)) + " |" for row in rows)
    print("", f"## {title}", "", head, "|" + "---|" * len(rows[0]), *body, sep="\n", flush=True)


def median_and_range(values: list[float], digits: int = 0) -> str:
    low, high = min(values), max(values)
    return f"{statistics.median(values):,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"


def run_python(*arguments: object) -> tuple[float, float]:
    """Seconds and highest memory, in gigabytes, of a child process."""
    command = [sys.executable, *map(str, arguments)]
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        _, status, usage = os.wait4(running.pid, 0)
        running.returncode = os.waitstatus_to_exitcode(status)
    if running.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {running.returncode}")
    # Linux counts in kilobytes.
    return time.perf_counter() - start, usage.ru_maxrss / 2**20


def run_command(*arguments: object) -> tuple[float, float]:
    return run_python("-m", "sentiment_hf.cli", *arguments, "--quiet")


def cold_start(repeats: int) -> None:
    own, torch_alone = [], []
    for _ in range(repeats + 1):
        own.append(run_command("predict", "A fine film.")[0])
        torch_alone.append(run_python("-c", "import torch")[0])
    # The first run of each reads its files into memory.
    own, torch_alone = own[1:], torch_alone[1:]
    print_table(
        "Cold start",
        ("process", "seconds"),
        ('`sentiment-hf predict "…"`', median_and_range(own, 2)),
        ('`python -c "import torch"`', median_and_range(torch_alone, 2)),
        ("ratio", f"{statistics.median(own) / statistics.median(torch_alone):.2f}"),
    )


def annotation(train: Dataset, rows: int) -> None:
    """`annotate --streaming` over more and more rows; the training reviews are repeated."""
    measured: list[Sequence[object]] = [
        ("rows", "device", "seconds", "rows a second", "bytes a row", "highest memory")
    ]
    runs = [(rows // 100, "cpu"), (rows // 10, "cpu"), (rows, "cpu")]
    runs += [(rows, "cuda")] if torch.cuda.is_available() else []
    for count, device in runs:
        with tempfile.TemporaryDirectory() as work:
            path, output = Path(work) / "rows.parquet", Path(work) / "labelled"
            repeated = concatenate_datasets([train] * math.ceil(count / len(train)))
            repeated.select(range(count)).to_parquet(path)
            seconds, memory = run_command(
                "annotate", path, "--output", output, "--streaming", "--dtype", "bfloat16",
                "--device", device,
            )  # fmt: skip
            written = sum(file.stat().st_size for file in output.rglob("*.parquet"))
        measured.append((
            f"{count:,}", device, f"{seconds:.1f}", f"{count / seconds:,.0f}",
            f"{written / count:,.0f}", f"{memory:.2f} GB",
        ))  # fmt: skip
    print_table("Annotation and memory", *measured)


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


def inference(texts: list[str], train: Dataset, peer_reviews: int, repeats: int) -> None:
    """Whole reviews a second, from text."""
    few = texts[:peer_reviews]
    reference = SentimentPipeline.from_pretrained()
    in_bfloat16 = SentimentPipeline.from_pretrained(dtype="bfloat16")
    dataset = Dataset.from_dict({"text": texts})

    def tokenize(texts: list[str]) -> None:
        encode_texts(reference.tokenizer, texts)

    def map_rows(texts: list[str]) -> None:
        with tempfile.TemporaryDirectory() as work:
            dataset.select(range(len(texts))).map(
                in_bfloat16.annotate, batched=True, cache_file_name=f"{work}/answers.arrow"
            )

    models: dict[str, tuple[Classify, list[str]]] = {
        "reference, float32": (reference.probabilities, texts),
        "reference, bfloat16": (in_bfloat16.probabilities, texts),
        "the same through `dataset.map(pipe.annotate)`": (map_rows, texts),
        "its tokenization alone": (tokenize, texts),
        "TF-IDF pairs + logistic regression": (tfidf(train), texts),
        "mean of word vectors (as model2vec)": (static_vectors(), texts),
        "DistilBERT, float32": (distilbert(torch.float32), few),
        "DistilBERT, bfloat16": (distilbert(torch.bfloat16), few),
    }
    found = rates(models, repeats)
    peer = statistics.median(found["DistilBERT, bfloat16"])
    linear = statistics.median(found["TF-IDF pairs + logistic regression"])
    rows: list[Sequence[object]] = [
        ("model", "reviews a second", "to DistilBERT in bfloat16", "to TF-IDF", "one text, median")
    ]
    for name, (classify, _) in models.items():
        speed = statistics.median(found[name])
        one = statistics.median(seconds_of(classify, [text]) for text in texts[:LATENCY_TEXTS])
        rows.append((
            name, median_and_range(found[name]), f"{speed / peer:.1f} x", f"{speed / linear:.2f} x",
            f"{1000 * one:.1f} ms",
        ))  # fmt: skip
    print_table("Whole reviews, from text", *rows)


def seconds_of(function: Callable[..., object], *arguments: object) -> float:
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def rates(models: dict[str, tuple[Classify, list[str]]], repeats: int) -> dict[str, list[float]]:
    """Texts per second of each model, in turns, so that a slow minute hits all of them."""
    found: dict[str, list[float]] = {name: [] for name in models}
    for classify, texts in models.values():
        classify(texts[:16])  # Whatever is prepared at the first call.
    for _ in range(repeats):
        for name, (classify, texts) in models.items():
            found[name].append(len(texts) / seconds_of(classify, texts))
    return found


def tfidf(train: Dataset) -> Classify:
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True),
        LogisticRegression(C=10, max_iter=200),
    )
    model.fit(list(train["text"]), list(train["label"]))
    return model.predict_proba


def static_vectors() -> Classify:
    """The mean of 256 numbers a word and a linear layer; random numbers, for the speed alone."""
    tokenizer = SentimentPipeline.from_pretrained().tokenizer
    bag = nn.EmbeddingBag(tokenizer.get_vocab_size(), 256, mode="mean")
    head = nn.Linear(256, 2)

    @torch.inference_mode()
    def classify(texts: list[str]) -> None:
        rows = encode_texts(tokenizer, texts)
        ends = torch.tensor([0, *(len(row) for row in rows)]).cumsum(0)
        head(bag(torch.tensor([i for row in rows for i in row]), ends[:-1]))

    return classify


def distilbert(dtype: torch.dtype) -> Classify:
    """DistilBERT as one uses it: texts sorted by length, padded in batches, at most 512 pieces.

    Its word pieces cannot be had without the Hub, so each word counts as 1.2 pieces, which is what
    its tokenizer makes of IMDB's reviews; the time of tokenization is left out.
    """
    config = DistilBertConfig()
    model = DistilBertForSequenceClassification(config).eval().to(dtype)

    @torch.inference_mode()
    def classify(texts: list[str]) -> None:
        lengths = sorted(min(512, int(1.2 * len(text.split())) + 2) for text in texts)
        for start in range(0, len(lengths), 16):
            part = lengths[start : start + 16]
            ids = torch.randint(config.vocab_size, (len(part), part[-1]))
            mask = torch.arange(part[-1]) < torch.tensor(part)[:, None]
            model(ids, attention_mask=mask.long())

    return classify


if __name__ == "__main__":
    main()
