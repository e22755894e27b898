"""How far deletion and integrated gradients agree: `python scripts/compare_explanations.py`.

Explains the 100 reviews of the sample corpus's test split with the reference checkpoint and
writes docs/explanations.md.
"""

from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from sentiment_hf import SentimentPipeline, load_reviews
from sentiment_hf.reading.explanation import Explanation

PAGE = Path(__file__).parent.parent / "docs" / "explanations.md"
TOP_WORDS = 5


def main() -> None:
    pipe = SentimentPipeline.from_pretrained()
    reviews = load_reviews("sample", splits=["test"])["test"]
    explanations = [pipe.explain(text) for text in reviews["text"]]
    rows = [
        ("rank correlation over the words of a review (Spearman), median", _correlations),
        ("share of the words on which both have the same sign, median", _same_signs),
        (f"share of the {TOP_WORDS} strongest words that are the same, mean", _shared_words),
        ("reviews whose strongest word is the same", _same_first),
        ("completeness error of integrated gradients, median", _errors),
    ]
    table = "\n".join(f"| {name} | {measure(explanations):.3f} |" for name, measure in rows)
    widest = max(explanations, key=_distance)
    word = widest.words[int(np.argmax(_gap(widest)))]
    PAGE.write_text(
        "# Do the two explanations agree?\n\n"
        "`inspect --explain` shows two answers to what a word contributes. Deletion takes the word"
        " out and\nreads again: true by construction, but blind to words that only count together."
        " Integrated gradients\ndivide the difference to a text of empty vectors among the words:"
        " complete, but that text does not\nexist.\n\n"
        f"Over the {len(explanations)} reviews of the sample corpus's test split, reference"
        " checkpoint"
        " (`python scripts/compare_explanations.py`):\n\n"
        f"| | |\n|---|---|\n{table}\n\n"
        "The widest gap of all, each method scaled to its own strongest word, stands at"
        f" {word!r}, in a review\nof {len(widest.words)} words.\n"
    )
    print(PAGE.read_text())


def _correlations(explanations: list[Explanation]) -> float:
    found = [spearmanr(e.deletion, e.gradients).statistic for e in explanations]
    return float(np.median(found))


def _same_signs(explanations: list[Explanation]) -> float:
    pairs = [(np.sign(e.deletion), np.sign(e.gradients)) for e in explanations]
    return float(np.median([(one == other).mean() for one, other in pairs]))


def _strongest(values: list[float], count: int) -> set[int]:
    return set(np.argsort(np.abs(values))[::-1][:count].tolist())


def _shared_words(explanations: list[Explanation]) -> float:
    shares = [
        len(_strongest(e.deletion, TOP_WORDS) & _strongest(e.gradients, TOP_WORDS))
        / min(TOP_WORDS, len(e.words))
        for e in explanations
    ]
    return float(np.mean(shares))


def _same_first(explanations: list[Explanation]) -> float:
    same = [_strongest(e.deletion, 1) == _strongest(e.gradients, 1) for e in explanations]
    return float(np.mean(same))


def _errors(explanations: list[Explanation]) -> float:
    return float(np.median([e.completeness_error for e in explanations]))


def _gap(explanation: Explanation) -> np.ndarray:
    """Distance of the two, each scaled to its own strongest word."""
    one, other = np.array(explanation.deletion), np.array(explanation.gradients)
    return np.abs(one / np.abs(one).max() - other / np.abs(other).max())


def _distance(explanation: Explanation) -> float:
    return float(_gap(explanation).max())


if __name__ == "__main__":
    main()
