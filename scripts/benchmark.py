"""Measures speed and memory, always beside a named peer in the same run.

    python scripts/benchmark.py --dataset stanfordnlp/imdb

Writes docs/benchmarks.md, docs/growth.png and docs/scaling.md; nothing else should compute
meanwhile. DistilBERT has random weights (extra `bench`): its speed does not depend on them.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import torch
from datasets import Dataset, concatenate_datasets
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from torch import nn
from torch.profiler import ProfilerActivity, profile
from transformers import DistilBertConfig, DistilBertForSequenceClassification

from sentiment_hf import LSTMForSequenceClassification, SentimentPipeline, load_reviews
from sentiment_hf.annotation import ROWS_PER_SHARD
from sentiment_hf.checkpoint.figures import BLUE, figure
from sentiment_hf.data.batching import Batch, EncodedRows, TrainingBatches, cut, pad_rows
from sentiment_hf.data.loading import DEFAULT_DATASET
from sentiment_hf.data.tokenization import encode_texts
from sentiment_hf.model.config import LSTMConfig
from sentiment_hf.training import loop
from sentiment_hf.training.loop import classification
from sentiment_hf.training.presets import get_preset
from sentiment_hf.training.run import precision_of, processor_name, start_accelerator, versions

DOCS = Path(__file__).parent.parent / "docs"
SINGLE_TEXTS = 100
# The tutorials pad every review to so many words.
TUTORIAL_LENGTHS = (200, 400)
TUTORIAL_BATCHES = 10
GIGABYTE = 2**30
# What the Hub recommends at most (https://huggingface.co/docs/hub/repositories-recommendations)
# and allows (https://huggingface.co/docs/hub/rate-limits).
FILES_PER_FOLDER = 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default=DEFAULT_DATASET)
    parser.add_argument("--reviews", type=int, default=6_000, help="whole reviews to read")
    parser.add_argument("--peer-reviews", type=int, default=128, help="of them for DistilBERT")
    parser.add_argument("--rows", type=int, default=100_000, help="rows to label")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--docs", type=Path, default=DOCS, help="the folder to write into")
    arguments = parser.parse_args()

    reviews = load_reviews(arguments.dataset, seed=0)
    test = reviews["test"].shuffle(seed=0)
    texts = list(test.select(range(min(arguments.reviews, len(test))))["text"])

    # Child processes first: their memory and time owe nothing to what this one holds.
    counts = [arguments.rows // 100, arguments.rows // 10, arguments.rows]
    growth = [annotation(reviews["train"], count) for count in counts]
    has_gpu = torch.cuda.is_available()
    on_gpu = annotation(reviews["train"], arguments.rows, "cuda") if has_gpu else None
    sections = [
        cold_start(arguments.repeats),
        growing(growth, training_memory(arguments.dataset), arguments.docs),
        training(reviews["train"]),
        mapping(texts, arguments.repeats),
        reading(texts, reviews["train"], arguments.peer_reviews, arguments.repeats),
    ]
    write(arguments.docs / "benchmarks.md", "Benchmarks", [
        "Ratios are within this one run.", "", *chain.from_iterable(sections),
    ])  # fmt: skip
    write(
        arguments.docs / "scaling.md", "Data sets of any size", ["", *scaling(growth[-1], on_gpu)]
    )


def write(path: Path, title: str, lines: list[str]) -> None:
    machine = (
        f"Written by `python scripts/benchmark.py` on {processor_name()};"
        f" {', '.join(f'{name} {version}' for name, version in versions().items())}."
    )
    page = "\n".join([f"# {title}", "", machine, *lines])
    path.write_text(page.rstrip("\n") + "\n")
    print(page)


def table(*rows: tuple[object, ...]) -> list[str]:
    head, *body = ("| " + " | ".join(map(str, row)) + " |" for row in rows)
    return ["", head, "|" + "---|" * len(rows[0]), *body, ""]


def middle(values: list[float], digits: int = 0) -> str:
    """The median, and the range in brackets."""
    low, high = min(values), max(values)
    return f"{statistics.median(values):,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"


# Reading whole reviews


def reading(texts: list[str], train: Dataset, peer_reviews: int, repeats: int) -> list[str]:
    few = texts[:peer_reviews]
    reference = {
        name: SentimentPipeline.from_pretrained(dtype=name) for name in ("float32", "bfloat16")
    }
    readers: dict[str, tuple[Callable[[list[str]], object], list[str]]] = {
        "reference, float32": (reference["float32"].probabilities, texts),
        "reference, bfloat16": (reference["bfloat16"].probabilities, texts),
        "TF-IDF pairs + logistic regression": (tfidf(train), texts),
        "mean of word vectors (as model2vec)": (static_vectors(train), texts),
        "DistilBERT, float32": (distilbert(torch.float32), few),
        "DistilBERT, bfloat16": (distilbert(torch.bfloat16), few),
    }
    found = rates(readers, repeats)
    peer = statistics.median(found["DistilBERT, bfloat16"])
    linear = statistics.median(found["TF-IDF pairs + logistic regression"])
    rows: list[tuple[object, ...]] = [
        ("reader", "reviews a second", "to DistilBERT in bfloat16", "to TF-IDF", "one text, median")
    ]
    for name, (read, _) in readers.items():
        speed = statistics.median(found[name])
        single = 1000 * latency(read, texts[:SINGLE_TEXTS])
        rows.append((
            name, middle(found[name]), f"{speed / peer:.1f} x", f"{speed / linear:.2f} x",
            f"{single:.1f} ms",
        ))  # fmt: skip
    return [
        "## Whole reviews, from text",
        "",
        f"{len(texts):,} IMDB test reviews ({len(few)} for DistilBERT), median of {repeats} runs in"
        " turns, lowest to highest in brackets.",
        *table(*rows),
    ]


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


def static_vectors(train: Dataset) -> Callable[[list[str]], object]:
    """The mean of 256 numbers a word and a linear layer; random numbers, for the speed alone."""
    tokenizer = SentimentPipeline.from_pretrained().tokenizer
    bag = nn.EmbeddingBag(tokenizer.get_vocab_size(), 256, mode="mean")
    head = nn.Linear(256, 2)

    @torch.inference_mode()
    def read(texts: list[str]) -> None:
        rows = encode_texts(tokenizer, texts)
        ends = torch.tensor([0, *(len(row) for row in rows)]).cumsum(0)
        head(bag(torch.tensor([i for row in rows for i in row]), ends[:-1]))

    return read


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


# Whole processes


@dataclass(frozen=True)
class Process:
    """What a child process took: seconds, and its highest memory in bytes."""

    seconds: float
    memory: int


def measured(*arguments: object) -> Process:
    """Runs this Python with some arguments to its end."""
    command = [sys.executable, *map(str, arguments)]
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        _, status, usage = os.wait4(running.pid, 0)
        running.returncode = os.waitstatus_to_exitcode(status)
    if running.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {running.returncode}")
    # Linux counts in kilobytes.
    return Process(time.perf_counter() - start, usage.ru_maxrss * 1024)


def cold_start(repeats: int) -> list[str]:
    commands = {
        'sentiment-hf predict "…"': ["-m", "sentiment_hf.cli", "predict", "A fine film."],
        'python -c "import torch"': ["-c", "import torch"],
    }
    found: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(repeats + 1):  # The first one warms the disk.
        for name, arguments in commands.items():
            found[name].append(measured(*arguments).seconds)
    own, torch_alone = (statistics.median(seconds[1:]) for seconds in found.values())
    return [
        "## Cold start",
        *table(
            ("process", "seconds"),
            *((f"`{name}`", middle(seconds[1:], 2)) for name, seconds in found.items()),
        ),
        f"The ratio is {own / torch_alone:.2f}.",
        "",
    ]


def annotation(rows: Dataset, count: int, device: str = "cpu") -> tuple[int, Process, int]:
    """Rows, what `annotate --streaming` took for them, and the bytes that it wrote."""
    with tempfile.TemporaryDirectory() as work:
        path = Path(work) / "rows.parquet"
        times = -(-count // len(rows))
        concatenate_datasets([rows] * times).select(range(count)).to_parquet(path)
        output = Path(work) / "labelled"
        process = measured(
            "-m", "sentiment_hf.cli", "annotate", path, "--output", output, "--streaming",
            "--dtype", "bfloat16", "--device", device, "--quiet",
        )  # fmt: skip
        return count, process, sum(p.stat().st_size for p in output.rglob("*.parquet"))


def training_memory(dataset: str) -> Process:
    with tempfile.TemporaryDirectory() as work:
        return measured(
            "-m", "sentiment_hf.cli", "train", dataset, "--output", Path(work) / "model",
            "--epochs", 1, "--quiet",
        )  # fmt: skip


def growing(growth: list[tuple[int, Process, int]], trained: Process, docs: Path) -> list[str]:
    counts = [count for count, *_ in growth]
    with figure(docs / "growth.png") as axes:
        seconds = [process.seconds for _, process, _ in growth]
        axes.loglog(counts, seconds, color=BLUE, marker="o", label="measured")
        axes.loglog(
            counts, [seconds[-1] * count / counts[-1] for count in counts],
            color=BLUE, linestyle=":", label="in proportion",
        )  # fmt: skip
        axes.set(xlabel="rows", ylabel="seconds", title="annotate --streaming, whole process")
        axes.legend()
    return [
        "## Labelling and memory",
        "",
        "`sentiment-hf annotate --streaming --dtype bfloat16` over whole IMDB reviews in one"
        " parquet file, as a process of its own; the training reviews are repeated as needed.",
        *table(
            ("rows", "seconds", "rows a second", "highest memory"),
            *(
                (
                    f"{count:,}",
                    f"{process.seconds:.1f}",
                    f"{count / process.seconds:,.0f}",
                    f"{process.memory / GIGABYTE:.2f} GB",
                )
                for count, process, _ in growth
            ),
        ),
        "![Seconds over rows](growth.png)",
        "",
        f"`sentiment-hf train --preset fast` over all of IMDB's training reviews, one epoch:"
        f" {trained.memory / GIGABYTE:.2f} GB at most.",
        "",
    ]


# Tokenizing and mapping


def mapping(texts: list[str], repeats: int) -> list[str]:
    pipe = SentimentPipeline.from_pretrained(dtype="bfloat16")
    rows = Dataset.from_dict({"text": texts})

    def mapped(texts: list[str]) -> None:
        with tempfile.TemporaryDirectory() as work:
            rows.map(pipe.annotate, batched=True, cache_file_name=f"{work}/answers.arrow")

    steps = {
        "words of the texts (`encode_texts`)": lambda some: encode_texts(pipe.tokenizer, some),
        "answers (`pipe.probabilities`)": pipe.probabilities,
        "`dataset.map(pipe.annotate, batched=True)`": mapped,
    }
    found = rates({name: (step, texts) for name, step in steps.items()}, repeats)
    slowest = statistics.median(found["`dataset.map(pipe.annotate, batched=True)`"])
    return [
        "## Tokenizing and mapping",
        "",
        "Reference checkpoint, bfloat16, the same reviews.",
        *table(
            ("step", "rows a second", "share of the time of `map`"),
            *(
                (name, middle(speeds), f"{slowest / statistics.median(speeds):.0%}")
                for name, speeds in found.items()
            ),
        ),
    ]


# Training


def training(train: Dataset) -> list[str]:
    """Real words a second of this package's loop and of the tutorials', and where the time goes."""
    tokenizer = SentimentPipeline.from_pretrained().tokenizer
    preset = get_preset("fast")
    config = LSTMConfig(vocab_size=tokenizer.get_vocab_size(), **preset.network)
    rows = EncodedRows.from_split(
        train.shuffle(seed=0).select(range(min(6_400, len(train)))), tokenizer, 2
    )
    tutorials = {
        length: tutorial_rate(rows, config, preset.batch_size, length)
        for length in TUTORIAL_LENGTHS
    }
    accelerator = start_accelerator(None, None)
    network = LSTMForSequenceClassification(config)
    batches = TrainingBatches(rows, preset.batch_size, max_length=config.max_length)
    history = loop.run(
        network, [loop.Task(classification(), batches)], replace(preset.loop, epochs=2),
        accelerator=accelerator, validate=lambda model: {"loss": 0.0}, show_progress=False,
    )  # fmt: skip
    first, second = history
    own = (second["words"] - first["words"]) / (second["seconds"] - first["seconds"])

    flops = 3 * 2 * 2 * 4 * config.hidden_size * (config.embedding_dim + config.hidden_size)
    product = matrix_product_rate(accelerator.device)
    share = own * flops / product
    return [
        "## Training",
        "",
        f"Preset `fast` (two directions of {config.hidden_size}), batches of {preset.batch_size},"
        f" real words a second, {precision_of(accelerator)}. The tutorials' loop trains the same"
        " network in float32 on reviews in the order of the rows, all padded to one length.",
        *table(
            ("loop", "words a second", "this package's to it"),
            ("this package", f"{own:,.0f}", ""),
            *(
                (f"tutorials, padded to {length}", f"{rate:,.0f}", f"{own / rate:.1f} x")
                for length, rate in tutorials.items()
            ),
        ),
        f"The LSTM's products need {flops / 1e6:.2f} million operations a word, forward and"
        f" backward: {own * flops / 1e9:,.0f} billion a second, {share:.0%} of the"
        f" {product / 1e9:,.0f} billion of one large bfloat16 matrix product in the same run.",
        "",
        *where_the_time_goes(network, batches),
    ]


def tutorial_rate(rows: EncodedRows, config: LSTMConfig, batch_size: int, length: int) -> float:
    network = LSTMForSequenceClassification(config).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    loss_function = nn.BCEWithLogitsLoss()
    words = 0
    start = time.perf_counter()
    for first in range(0, TUTORIAL_BATCHES * batch_size, batch_size):
        chosen = [i % len(rows) for i in range(first, first + batch_size)]
        some = [cut(rows[i], length) for i in chosen]
        words += sum(map(len, some))
        logits = network(torch.from_numpy(pad_rows(some, length)))
        loss = loss_function(logits, torch.from_numpy(rows.labels[chosen]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return words / (time.perf_counter() - start)


def matrix_product_rate(device: torch.device) -> float:
    """Operations a second of a large bfloat16 matrix product."""
    size = 2048
    left, right = (torch.randn(size, size, dtype=torch.bfloat16, device=device) for _ in range(2))
    left @ right
    start = time.perf_counter()
    for _ in range(20):
        left @ right
    return 20 * 2 * size**3 / (time.perf_counter() - start)


def where_the_time_goes(
    network: LSTMForSequenceClassification, batches: TrainingBatches
) -> list[str]:
    """A profile of some steps, and what forward and backward cost in passes of inference."""
    some: list[Batch] = [
        batch for batch, _ in zip(batches.epoch(0), range(12), strict=False)
    ]  # fmt: skip
    objective = classification()

    def steps() -> None:
        network.train()
        for batch in some:
            with torch.autocast("cpu", torch.bfloat16):
                loss = objective(network, batch)
            network.zero_grad()
            loss.backward()

    @torch.inference_mode()
    def passes() -> None:
        network.eval()
        for batch in some:
            with torch.autocast("cpu", torch.bfloat16):
                network(batch.input_ids, batch.attention_mask)

    taken = []
    for run in (passes, steps):
        run()
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        steps()
    events = sorted(profiled.key_averages(), key=lambda e: -e.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    return [
        f"Forward and backward together take {taken[1] / taken[0]:.1f} times a pass of inference in"
        " bfloat16. Where they go, by operator:",
        *table(
            ("operator", "share"),
            *((f"`{e.key}`", f"{e.self_cpu_time_total / total:.0%}") for e in events[:8]),
        ),
    ]


# Ten million, a billion


def scaling(
    largest: tuple[int, Process, int], on_gpu: tuple[int, Process, int] | None
) -> list[str]:
    count, process, size = largest
    rate, bytes_a_row = count / process.seconds, size / count
    gpu_rate = None if on_gpu is None else on_gpu[0] / on_gpu[1].seconds
    rows: list[tuple[object, ...]] = [(
        "rows", "1 machine", "16 machines", "1 GPU",
        "parquet written", "--rows-per-shard", "shards",
    )]  # fmt: skip
    for total in (10_000_000, 1_000_000_000):
        per_shard = ROWS_PER_SHARD
        while total / per_shard > FILES_PER_FOLDER / 2:
            per_shard *= 10
        rows.append((
            f"{total:,}", hours(total / rate), hours(total / rate / 16),
            "not measured" if gpu_rate is None else hours(total / gpu_rate),
            f"{total * bytes_a_row / 1e9:,.0f} GB", f"{per_shard:,}", f"{total // per_shard:,}",
        ))  # fmt: skip
    return SCALING.format(
        table="\n".join(table(*rows)).strip(),
        rate=f"{rate:,.0f}",
        count=f"{count:,}",
        threads=torch.get_num_threads(),
        gpu=(
            "No GPU was at hand;\non a machine with one, this script fills its column."
            if gpu_rate is None
            else f"On one\n{torch.cuda.get_device_name()} it labels {gpu_rate:,.0f} a second."
        ),
    ).splitlines()


def hours(seconds: float) -> str:
    whole = seconds / 3600
    return f"{whole:.1f} hours" if whole < 48 else f"{whole / 24:.1f} days"


SCALING = """\
The whole table follows from one measured figure: `annotate --streaming --dtype bfloat16` labels
{rate} whole IMDB reviews a second with {threads} threads ({count} rows, start and parquet included;
see [benchmarks](benchmarks.md), where the time grows in proportion to the rows). Parts share
nothing, so 16 machines are taken as a sixteenth of the time. {gpu}

## What labelling costs

{table}

## The commands

One machine; cut off, the same command goes on after the last whole shard:

    sentiment-hf annotate user/reviews --output labelled --streaming --dtype bfloat16

Many machines that see one folder, here as a SLURM array of 16 (`#SBATCH --array=0-15`):

    sentiment-hf annotate user/reviews --output labelled --streaming --dtype bfloat16 \\
        --num-shards 16 --shard-index $SLURM_ARRAY_TASK_ID --rows-per-shard 200000

The same over a Ray cluster, whose scheduler starts lost work again:

    python scripts/annotate_with_ray.py hf://datasets/user/reviews/data/ s3://bucket/labelled \\
        --actors 32

Training over several processes or machines, with one process's loss curve at the same total batch:

    torchrun --nproc_per_node 2 -m sentiment_hf.cli train user/reviews --output my-model

## Limits on the way

- The Hub recommends fewer than 10,000 files in a folder, 100,000 in a repository and 20 GB a file
  (<https://huggingface.co/docs/hub/repositories-recommendations>): hence the larger shards above.
- Its rate limits count requests in windows of five minutes
  (<https://huggingface.co/docs/hub/rate-limits>): 3,000 downloads without a token, 5,000 with a
  free account's. 16 machines that stream 10,000 files each ask often enough to meet them: give
  every job a token, or fetch once with `hf download --repo-type dataset` to a disk that all see.
- `--streaming` with `--shard-index` reads past the rows of earlier parts. Files on a disk that all
  machines see, opened without `--streaming`, are reached at once. Where the data set's card
  does not say how many rows there are, every streaming part reads all of them to count them.
- `train` holds the word ids of all its rows in memory, 4 bytes a word: 10 million reviews of 240
  words are 10 GB. For more rows, train on a sample (`--max-samples`) and label the rest.
"""


if __name__ == "__main__":
    main()
