"""How far deletion and integrated gradients agree: `python scripts/compare_explanations.py`.

Explains the 100 reviews of the sample corpus's test split with the reference checkpoint and prints
the table of docs/explanations.md (extra `explain`).
"""

import numpy as np
from scipy.stats import spearmanr

from sentiment_hf import SentimentPipeline, load_reviews
from sentiment_hf.errors import run_script
from sentiment_hf.reading.explanation import Explanation

TOP_WORDS = 5


def main() -> None:
    pipe = SentimentPipeline.from_pretrained()
    reviews = load_reviews("sample", splits=["test"])["test"]
    found = [pipe.explain(text) for text in reviews["text"]]
    correlations = [spearmanr(e.deletion, e.gradients).statistic for e in found]
    same_signs = [np.mean(np.sign(e.deletion) == np.sign(e.gradients)) for e in found]
    shared = [shared_words(e, TOP_WORDS) for e in found]
    same_first = [shared_words(e, 1) for e in found]
    errors = [e.completeness_error for e in found]
    for name, value in {
        "rank correlation over the words of a review (Spearman), median": np.median(correlations),
        "share of the words on which both have the same sign, median": np.median(same_signs),
        f"share of the {TOP_WORDS} strongest words that are the same, mean": np.mean(shared),
        "reviews whose strongest word is the same": np.mean(same_first),
        "completeness error of integrated gradients, median": np.median(errors),
    }.items():
        print(f"| {name} | {value:.3f} |")
    widest = max(found, key=lambda explanation: differences(explanation).max())
    word = widest.words[int(differences(widest).argmax())]
    print(f"The widest gap stands at {word!r}, in a review of {len(widest.words)} words.")


def shared_words(explanation: Explanation, count: int) -> float:
    """The share of the strongest words by one method that are among those of the other."""
    one, other = (
        set(np.argsort(np.abs(values))[::-1][:count].tolist())
        for values in (explanation.deletion, explanation.gradients)
    )
    return len(one & other) / len(one)


def differences(explanation: Explanation) -> np.ndarray:
    """How far the two are apart at each word, each scaled to its own strongest word."""
    one, other = np.array(explanation.deletion), np.array(explanation.gradients)
    return np.abs(one / np.abs(one).max() - other / np.abs(other).max())


if __name__ == "__main__":
    raise SystemExit(run_script(main))
