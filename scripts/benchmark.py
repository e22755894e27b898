"""Measures speed and memory, always beside a named peer in the same run.

    python scripts/benchmark.py --dataset stanfordnlp/imdb

Writes docs/benchmarks.md. Nothing else should compute meanwhile. DistilBERT has random weights
(extra `bench`): its speed does not depend on them.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from datasets import Dataset
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from transformers import DistilBertConfig, DistilBertForSequenceClassification

from sentiment_hf import SentimentPipeline, load_reviews
from sentiment_hf.data import DEFAULT_DATASET
from sentiment_hf.training.session import processor_name, versions

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
SINGLE_TEXTS = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default=DEFAULT_DATASET)
    parser.add_argument("--reviews", type=int, default=6_000, help="whole reviews to read")
    parser.add_argument("--peer-reviews", type=int, default=128, help="of them for DistilBERT")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--page", type=Path, default=PAGE)
    arguments = parser.parse_args()

    reviews = load_reviews(arguments.dataset, seed=0)
    test = reviews["test"].shuffle(seed=0)
    texts = list(test.select(range(min(arguments.reviews, len(test))))["text"])
    train = reviews["train"]
    few = texts[: arguments.peer_reviews]

    reference = {
        name: SentimentPipeline.from_pretrained(dtype=name) for name in ("float32", "bfloat16")
    }
    readers: dict[str, tuple[Callable[[list[str]], object], list[str]]] = {
        "reference, float32": (reference["float32"].probabilities, texts),
        "reference, bfloat16": (reference["bfloat16"].probabilities, texts),
        "TF-IDF pairs + logistic regression": (tfidf(train), texts),
        "DistilBERT, float32": (distilbert(torch.float32), few),
        "DistilBERT, bfloat16": (distilbert(torch.bfloat16), few),
    }
    speeds = rates(readers, arguments.repeats)
    singles = {
        name: latency(read, texts[:SINGLE_TEXTS])
        for name, (read, _) in readers.items()
    }  # fmt: skip
    starts = cold_starts(arguments.repeats)
    page = render(arguments, speeds, singles, starts)
    arguments.page.write_text(page)
    print(page)


def rates(readers: dict, repeats: int) -> dict[str, list[float]]:
    """Texts per second of each reader, in turns, so that a slow minute hits all of them."""
    found: dict[str, list[float]] = {name: [] for name in readers}
    for read, texts in readers.values():
        read(texts[:16])  # Whatever is prepared at the first call.
    for _ in range(repeats):
        for name, (read, texts) in readers.items():
            start = time.perf_counter()
            read(texts)
            found[name].append(len(texts) / (time.perf_counter() - start))
    return found


def latency(read: Callable[[list[str]], object], texts: list[str]) -> float:
    """Median seconds for one text."""
    taken = []
    for text in texts:
        start = time.perf_counter()
        read([text])
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def tfidf(train: Dataset) -> Callable[[list[str]], object]:
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True),
        LogisticRegression(C=10, max_iter=200),
    )
    model.fit(list(train["text"]), list(train["label"]))
    return model.predict_proba


def distilbert(dtype: torch.dtype) -> Callable[[list[str]], object]:
    """DistilBERT as one uses it: texts sorted by length, padded in batches, at most 512 pieces.

    Its word pieces cannot be had without the Hub, so each word of ours counts as 1.2 pieces, which
    is what its tokenizer makes of IMDB's reviews; the time of cutting them is left out.
    """
    config = DistilBertConfig()
    model = DistilBertForSequenceClassification(config).eval().to(dtype)

    @torch.inference_mode()
    def read(texts: list[str]) -> None:
        lengths = sorted(min(512, int(1.2 * len(text.split())) + 2) for text in texts)
        for start in range(0, len(lengths), 16):
            part = lengths[start : start + 16]
            ids = torch.randint(config.vocab_size, (len(part), part[-1]))
            mask = torch.arange(part[-1]) < torch.tensor(part)[:, None]
            model(ids, attention_mask=mask.long())

    return read


def cold_starts(repeats: int) -> dict[str, list[float]]:
    """Seconds of whole processes, in turns."""
    commands = {
        'sentiment-hf predict "…"': ["-m", "sentiment_hf.cli", "predict", "A fine film."],
        'python -c "import torch"': ["-c", "import torch"],
    }
    found: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(repeats + 1):
        for name, arguments in commands.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
            found[name].append(time.perf_counter() - start)
    return {name: seconds[1:] for name, seconds in found.items()}  # The first one warms the disk.


def render(
    arguments: argparse.Namespace,
    speeds: dict[str, list[float]],
    singles: dict[str, float],
    starts: dict[str, list[float]],
) -> str:
    peer = statistics.median(speeds["DistilBERT, bfloat16"])
    linear = statistics.median(speeds["TF-IDF pairs + logistic regression"])
    lines = [
        "# Benchmarks",
        "",
        "Written by `python scripts/benchmark.py`; ratios are within this one run.",
        f"{processor_name()}, {torch.get_num_threads()} threads;"
        f" {', '.join(f'{name} {version}' for name, version in versions().items())}.",
        "",
        "## Whole reviews, from text",
        "",
        f"{arguments.reviews:,} IMDB test reviews ({arguments.peer_reviews} for DistilBERT), median"
        f" of {arguments.repeats} runs in turns, lowest to highest in brackets.",
        "",
        "| reader | reviews a second | to DistilBERT in bfloat16 | to TF-IDF | one text, median |",
        "|---|---|---|---|---|",
    ]
    for name, values in speeds.items():
        middle = statistics.median(values)
        lines.append(
            f"| {name} | {middle:,.0f} ({min(values):,.0f} to {max(values):,.0f}) |"
            f" {middle / peer:.1f} x | {middle / linear:.2f} x | {1000 * singles[name]:.1f} ms |"
        )
    own, torch_alone = (statistics.median(values) for values in starts.values())
    lines += [
        "",
        "## Cold start",
        "",
        "| process | median seconds |",
        "|---|---|",
        *(f"| `{name}` | {statistics.median(values):.2f} |" for name, values in starts.items()),
        "",
        f"The ratio is {own / torch_alone:.2f}.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
