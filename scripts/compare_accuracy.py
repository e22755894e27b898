"""Accuracy beside word lists, a linear model and transformers: one run, same texts.

    python scripts/compare_accuracy.py --model before=FOLDER --teacher runs/reference/teacher \
        --imdb stanfordnlp/imdb --sst2 stanfordnlp/sst2

Prints the table of docs/benchmarks.md (extra `bench`). The linear model learns from IMDB's labels;
the word lists (VADER, TextBlob) learn nothing.
"""

import argparse
import time
from collections.abc import Callable, Sequence

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from textblob import TextBlob
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from sentiment_hf import SentimentPipeline, load_reviews
from sentiment_hf.errors import run_script
from sentiment_hf.training.transformers_teacher import TransformersTeacher

LABEL_MAP = {"negative": "neg", "positive": "pos"}

# Gives each text a number above 0 where it is positive.
Scorer = Callable[[Sequence[str]], np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--imdb", default="stanfordnlp/imdb")
    parser.add_argument("--sst2", default="stanfordnlp/sst2")
    parser.add_argument("--model", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--teacher", metavar="FOLDER")
    arguments = parser.parse_args()
    imdb = load_reviews(arguments.imdb, splits=["train", "test"])
    sst2 = load_reviews(arguments.sst2, splits=["validation"], label_map=LABEL_MAP)
    parts = {
        "IMDB test": imdb["test"],
        "SST-2 validation": sst2["validation"],
        "sample test": load_reviews("sample", splits=["test"])["test"],
    }
    scorers: dict[str, Scorer] = {
        "VADER": vader,
        "TextBlob": textblob,
        "TF-IDF of words and pairs, logistic regression": tfidf(imdb["train"]),
    }
    for named in arguments.model:
        name, _, folder = named.partition("=")
        scorers[name] = network(folder)
    scorers["reference checkpoint"] = network(None)
    if arguments.teacher:
        scorers["its teacher"] = teacher(arguments.teacher)
    print(f"| | {' | '.join(parts)} | texts a second |")
    print("|---|" + "---|" * (len(parts) + 1))
    for name, score in scorers.items():
        cells = []
        started = time.perf_counter()
        for rows in parts.values():
            right = (score(list(rows["text"])) > 0) == np.array(rows["label"])
            cells.append(f"{right.mean():.4f}")
        rate = sum(map(len, parts.values())) / (time.perf_counter() - started)
        print(f"| {name} | {' | '.join(cells)} | {rate:,.0f} |", flush=True)


def vader(texts: Sequence[str]) -> np.ndarray:
    analyzer = SentimentIntensityAnalyzer()
    return np.array([analyzer.polarity_scores(text)["compound"] for text in texts])


def textblob(texts: Sequence[str]) -> np.ndarray:
    return np.array([TextBlob(text).sentiment.polarity for text in texts])


def tfidf(train: object) -> Scorer:
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    model = LogisticRegression(C=30, max_iter=200)
    model.fit(vectorizer.fit_transform(train["text"]), train["label"])
    return lambda texts: model.decision_function(vectorizer.transform(texts))


def network(folder: str | None) -> Scorer:
    pipe = SentimentPipeline.from_pretrained(folder, device="cpu")
    return lambda texts: pipe.probabilities(texts)[:, 1].numpy() - 0.5


def teacher(folder: str) -> Scorer:
    model = TransformersTeacher(folder, device="cpu")
    return lambda texts: model.probabilities(texts)[:, 1] - 0.5


if __name__ == "__main__":
    raise SystemExit(run_script(main))
