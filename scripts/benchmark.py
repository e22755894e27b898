"""Measures prediction's speed and memory, always beside a named peer in the same run.

    python scripts/benchmark.py --dataset stanfordnlp/imdb

Prints the tables of docs/benchmarks.md that name no other script; nothing else should compute
meanwhile. DistilBERT has random weights (extra `bench`): its speed
does not depend on them.
"""

import argparse
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
from transformers import DistilBertConfig, DistilBertForSequenceClassification

from sentiment_hf import SentimentPipeline, load_reviews
from sentiment_hf.data.loading import DEFAULT_DATASET
from sentiment_hf.data.tokenization import encode_texts
from sentiment_hf.export.onnx_folder import export_onnx
from sentiment_hf.training.run import processor_name, versions

LATENCY_TEXTS = 100

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
    peer = "import torch"
    seconds: dict[str, list[float]] = {peer: [], "onnx": [], "torch": []}
    for _ in range(repeats + 1):
        seconds[peer].append(run_python("-c", peer)[0])
        for backend in ("onnx", "torch"):
            command = ("predict", "A fine film.", "--backend", backend)
            seconds[backend].append(run_command(*command)[0])
    # The first run of each reads its files into memory.
    alone = statistics.median(seconds[peer][1:])
    print_table(
        "Cold start",
        ("process", "seconds", f"to `{peer}`"),
        *(
            (
                f"`python -c '{peer}'`" if name == peer else f"`predict --backend {name}`",
                median_and_range(found[1:], 2),
                f"{statistics.median(found[1:]) / alone:.2f} x",
            )
            for name, found in seconds.items()
        ),
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


def inference(texts: list[str], train: Dataset, peer_reviews: int, repeats: int) -> None:
    """Whole reviews a second, from text."""
    few = texts[:peer_reviews]
    in_onnx = SentimentPipeline.from_pretrained(backend="onnx")
    with tempfile.TemporaryDirectory() as work:
        in_int8 = SentimentPipeline.from_pretrained(
            export_onnx("reference", f"{work}/int8", dtype="int8"), backend="onnx"
        )
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
        "reference, ONNX Runtime, float32": (in_onnx.probabilities, texts),
        "reference, ONNX Runtime, int8": (in_int8.probabilities, texts),
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
