"""A tour of the commands, offline: trains, measures, saves, loads and predicts.

    python scripts/tour.py

`make demo` installs the package and runs this.
"""

import json
import os
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
        print("1. Train a tokenizer and a network on the 248 reviews of the sample corpus.\n")
        run("train", "sample", "--output", small, "--quiet")
        print("\n2. Measure it on the 100 reviews of the test split.\n")
        accuracy = measure(small)
        print("\n3. Load it in a new process, and the reference checkpoint beside it.\n")
        small_answers = predict(*TEXTS, "--model", small)
        reference_answers = predict(*TEXTS)
        print(f"\n{'trained just now':<18}{'reference':<14}text")
        for answers in zip(small_answers, reference_answers, strict=True):
            small_answer, reference_answer = map(label_and_score, answers)
            print(f"{small_answer:<18}{reference_answer:<14}{answers[0]['text']}")
    command = os.path.relpath(Path(sys.executable).with_name("sentiment-hf"))
    measured = read_json(REFERENCE_FOLDER / EVALUATION_FILE)
    print(
        f"\nThe network trained just now has an accuracy of {accuracy:.2f} on the sample corpus."
        f"\nThe reference checkpoint has {measured['accuracy']:.4f} on the {measured['n']:,} test"
        " reviews of IMDB.\n"
        f'\nLook inside:        {command} inspect "Not a bad film at all." --trajectory'
        f"\nTrain on IMDB:      {command} train stanfordnlp/imdb --output imdb-lstm"
        f"\nTrain on your csv:  {command} train my.csv --output my-lstm --init-from reference"
    )


def run(*arguments: str) -> str:
    """Shows and runs a command; returns what it printed."""
    shown = " ".join(f'"{text}"' if " " in text else Path(text).name for text in arguments)
    print(f"$ sentiment-hf {shown if len(shown) < 90 else shown[:87] + '...'}", flush=True)
    command = [sys.executable, "-m", "sentiment_hf.cli", *arguments]
    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if finished.returncode:
        sys.exit(finished.returncode)
    return finished.stdout


def measure(model: str) -> float:
    results = json.loads(run("evaluate", "sample", "--model", model, "--quiet", "--json"))
    print(f"accuracy {results['accuracy']:.2f}, {results['reviews_per_second']:.0f} reviews/s")
    return results["accuracy"]


def predict(*arguments: str) -> list[dict]:
    return [json.loads(line) for line in run("predict", *arguments, "--json").splitlines()]


def label_and_score(answer: dict) -> str:
    return f"{answer['label']} {answer['score']:.2f}"


if __name__ == "__main__":
    main()
