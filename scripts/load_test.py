"""Many clients ask a `sentiment-hf serve` at once; every answer is compared with the pipeline's.

    python scripts/load_test.py --clients 64 --seconds 60

Prints the table of docs/benchmarks.md (extra `serve`): the clients together, then one alone. It
starts the server itself, on loopback; clients and server share the machine. The exit status is 1
where an answer is lost, late by more than a minute, or not that of its texts to 1e-5.
"""

import argparse
import json
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException

import numpy as np
from datasets import disable_progress_bars

from sentiment_hf import SentimentPipeline, load_reviews
from sentiment_hf.errors import SentimentError, run_script

TEXTS = 400
MOST_TEXTS_OF_A_REQUEST = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="a checkpoint folder or a Hub id")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60)
    arguments = parser.parse_args()
    disable_progress_bars()
    texts = texts_of_many_lengths()
    pipe = SentimentPipeline.from_pretrained(arguments.model, backend="auto")
    answers = dict(zip(texts, pipe(texts)))

    command = [sys.executable, "-m", "sentiment_hf.cli", "serve", "--port", "0"]
    if arguments.model:
        command += ["--model", arguments.model]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            address = server.stdout.readline().partition("http://")[2].split()[0]
            print("| clients | requests | lost | wrong | requests a second | p50 | p99 |")
            print("|---|---|---|---|---|---|---|")
            bad = sum(
                load(address, answers, clients, arguments.seconds)
                for clients in (arguments.clients, 1)
            )
        finally:
            server.terminate()
    if bad or server.returncode:
        raise SentimentError(
            f"{bad} answers were lost or wrong; the server ended with {server.returncode}.",
            exit_status=1,
        )


def texts_of_many_lengths() -> list[str]:
    """From no word to a thousand, all different."""
    reviews = load_reviews("sample", splits=["train"])["train"]["text"]
    words = " ".join(reviews).split()
    rng = random.Random(0)
    texts = {""}
    while len(texts) < TEXTS:
        first, length = rng.randrange(len(words)), round(10 ** rng.uniform(0, 3))
        texts.add(" ".join(words[first : first + length]))
    return sorted(texts)


def load(address: str, answers: dict[str, dict], clients: int, seconds: float) -> int:
    """Prints a row of the table. Returns how many answers were lost or wrong."""
    start = time.perf_counter()
    end = start + seconds
    with ThreadPoolExecutor(clients) as threads:
        asked = [threads.submit(ask, address, answers, seed, end) for seed in range(clients)]
        times, lost, wrong = zip(*(client.result() for client in asked))
    elapsed = time.perf_counter() - start
    taken = 1000 * np.concatenate(times)
    p50, p99 = np.percentile(taken, [50, 99]) if len(taken) else (np.nan, np.nan)
    requests = len(taken) + sum(lost)
    rate = f"{len(taken) / elapsed:,.0f} | {p50:,.0f} ms | {p99:,.0f} ms"
    print(f"| {clients} | {requests:,} | {sum(lost)} | {sum(wrong)} | {rate} |", flush=True)
    return sum(lost) + sum(wrong)


def ask(
    address: str, answers: dict[str, dict], seed: int, end: float
) -> tuple[list[float], int, int]:
    """One client, who asks again as soon as it is answered: seconds of each, lost, wrong."""
    rng, texts = random.Random(seed), list(answers)
    connection = HTTPConnection(address, timeout=60)
    times, lost, wrong = [], 0, 0
    while (start := time.perf_counter()) < end:
        chosen = rng.sample(texts, rng.randint(1, MOST_TEXTS_OF_A_REQUEST))
        try:
            connection.request("POST", "/predict", json.dumps({"texts": chosen}))
            response = connection.getresponse()
            rows = json.loads(response.read())
        except (OSError, HTTPException, ValueError):
            lost += 1
            connection.close()
            continue
        times.append(time.perf_counter() - start)
        wrong += not (response.status == 200 and right(rows, chosen, answers))
    connection.close()
    return times, lost, wrong


def right(rows: list[dict], texts: list[str], answers: dict[str, dict]) -> bool:
    return [(row["text"], row["label"]) for row in rows] == [
        (text, answers[text]["label"]) for text in texts
    ] and all(abs(row["score"] - answers[row["text"]]["score"]) < 1e-5 for row in rows)


if __name__ == "__main__":
    raise SystemExit(run_script(main))
