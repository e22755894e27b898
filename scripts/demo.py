"""The tour that `make demo` gives, offline: `python scripts/demo.py`.

Trains a small network on the sample corpus, measures it, uses it in a new process, and lets the
reference checkpoint read the same texts.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from sentiment_hf.checkpoint.files import read_json
from sentiment_hf.checkpoint.folder import EVALUATION_FILE, REFERENCE_FOLDER

TEXTS = [
    "I laughed, I cried, and I stayed in my seat until the lights came on.",
    "Not a bad film by any means, but I would not sit through it again.",
    "The trailer promised a thriller; what I got was two hours of door handles.",
    "Don't let the poster fool you: this is the best thing she has ever done.",
]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        small = str(Path(folder) / "sample-lstm")
        print("1. Train a tokenizer and a network on the sample corpus, 248 reviews, offline.\n")
        run("train", "sample", "--output", small, "--quiet")
        print("\n2. Measure it on the 100 reviews it has not seen.\n")
        before = accuracy(small)
        print("\n3. Load it in a new process, beside the reference checkpoint of the package.\n")
        ours = predict(*TEXTS, "--model", small)
        theirs = predict(*TEXTS)
        print(f"\n{'trained just now':<18}{'reference':<14}text")
        for mine, reference in zip(ours, theirs, strict=True):
            print(f"{verdict(mine):<18}{verdict(reference):<14}{mine['text']}")
    measured = read_json(REFERENCE_FOLDER / EVALUATION_FILE)
    print(
        f"\nTrained on 248 reviews, the small one is right on {before:.0%} of 100 more by the same"
        f" writers.\nThe reference has read IMDB's training reviews and is right on"
        f" {measured['accuracy']:.1%} of the {measured['n']:,} of\nits test split.\n"
        '\nLook inside:         sentiment-hf inspect "Not a bad film at all." --trajectory'
        "\nThe real thing:      sentiment-hf train stanfordnlp/imdb --output imdb-lstm"
        "\nYour own reviews:    sentiment-hf train my.csv --output my-lstm"
    )


def run(*arguments: str) -> str:
    """Runs the command, shows it and what it prints."""
    shown = " ".join(f'"{text}"' if " " in text else Path(text).name for text in arguments)
    print(f"$ sentiment-hf {shown if len(shown) < 90 else shown[:87] + '...'}", flush=True)
    command = [sys.executable, "-m", "sentiment_hf.cli", *arguments]
    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if finished.returncode:
        sys.exit(finished.returncode)
    return finished.stdout


def accuracy(model: str) -> float:
    results = json.loads(run("evaluate", "sample", "--model", model, "--quiet", "--json"))
    print(f"accuracy {results['accuracy']:.2f}, {results['reviews_per_second']:.0f} reviews/s")
    return results["accuracy"]


def predict(*arguments: str) -> list[dict]:
    return [json.loads(line) for line in run("predict", *arguments, "--json").splitlines()]


def verdict(answer: dict) -> str:
    return f"{answer['label']} {answer['score']:.2f}"


if __name__ == "__main__":
    main()
