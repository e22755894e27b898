"""What the command `inspect` looks at: which network, which texts, what is shown of them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from datasets import ClassLabel

from sentiment_hf.arguments import listed_texts
from sentiment_hf.checkpoint.figures import draw_trajectory
from sentiment_hf.checkpoint.files import write_text
from sentiment_hf.checkpoint.pretrained import LSTMForSequenceClassification
from sentiment_hf.data.label_map import match_labels
from sentiment_hf.data.loading import DatasetSource, load_reviews
from sentiment_hf.data.splits import labelled_rows
from sentiment_hf.data.tokenization import train_tokenizer
from sentiment_hf.errors import SentimentError
from sentiment_hf.model.config import LSTMConfig
from sentiment_hf.model.device import pick_device, pick_dtype
from sentiment_hf.pipeline import SentimentPipeline
from sentiment_hf.reading.html import TextInspection, render_page
from sentiment_hf.reading.terminal import render_explanation, render_steps, render_trajectory
from sentiment_hf.reading.trace import Step
from sentiment_hf.training.presets import get_preset

ARTICLE_BATCH = 50


@dataclass(frozen=True)
class Inspection:
    """The steps of one batch, and what was asked for of each text."""

    steps: list[Step]
    texts: list[TextInspection]
    label_names: list[str]

    def to_dict(self) -> dict[str, Any]:
        return {
            "steps": [step.to_dict() for step in self.steps],
            "texts": [text.to_dict() for text in self.texts],
        }


def inspect(
    texts: Sequence[str] = (),
    *,
    model: str | Path | None = None,
    dataset: DatasetSource | None = None,
    preset: str | None = None,
    untrained: bool = False,
    trajectory: bool = False,
    explain: bool = False,
    html: Path | None = None,
    png: Path | None = None,
    device: str | None = None,
    dtype: str | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    config: str | None = None,
    revision: str | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    label_map: Mapping[str, str] | None = None,
    max_samples: int | None = None,
) -> Inspection:
    """Follows texts through a network, step by step.

    Args:
        texts: what is read; without any, a batch of 50 reviews of `dataset` (or the sample corpus).
        preset, untrained: a network as it is before training, its words from the same data set.
        trajectory, explain: also for each text, or for the first review of the batch.
        html, png: files to write; `png` draws the trajectory of the first text.
        config, revision, text_column, label_column, label_map, max_samples: as in `load_reviews`.

    Raises:
        SentimentError: no such model, data set or preset, or options that exclude each other.
    """
    data_options: dict[str, Any] = {
        "config": config,
        "revision": revision,
        "text_column": text_column,
        "label_column": label_column,
        "label_map": label_map,
        "max_samples": max_samples,
    }
    if untrained != (preset is not None):
        raise SentimentError("`preset` and `untrained` go together: a preset has no weights yet.")
    if untrained and model is not None:
        raise SentimentError("`untrained` shows a new network; `model` names a trained one.")
    if texts and not untrained:
        for name, value in {"dataset": dataset, **data_options}.items():
            if value is not None:
                raise SentimentError(f"`{name}` is about a data set; with a TEXT none is read.")
    chosen, labels, reviews = listed_texts(texts), None, None
    if not texts or untrained:
        source = "sample" if dataset is None else dataset
        splits = load_reviews(source, splits=["train"], seed=seed, **data_options)
        reviews = labelled_rows(splits["train"])
    if preset is not None and reviews is not None:
        pipe = untrained_pipeline(preset, reviews, seed, device, dtype)
    else:
        pipe = SentimentPipeline.from_pretrained(model, device=device, dtype=dtype)
    if not texts and reviews is not None:
        batch = reviews.shuffle(seed=seed).select(range(min(ARTICLE_BATCH, len(reviews))))
        chosen = list(batch["text"])
        if isinstance(reviews.features["label"], ClassLabel):
            ids = match_labels(reviews.features["label"].names, pipe.label_names)
            labels = [ids[label] for label in batch["label"]]
    several = chosen if texts else chosen[:1]
    inspected = [
        TextInspection(
            text,
            answer["label"],
            answer["score"],
            pipe.trajectory(text) if trajectory or png or html else [],
            pipe.explain(text) if explain else None,
        )
        for text, answer in zip(several, pipe(several, batch_size=batch_size), strict=True)
    ]
    inspection = Inspection(pipe.trace(chosen, labels), inspected, pipe.label_names)
    if html is not None:
        shown = [(text, text.sides(pipe.label_names)[1]) for text in inspected]
        with _place_to_write(html) as place:
            write_text(place, render_page(shown, inspection.steps))
    if png is not None:
        values = [point.probability for point in inspected[0].trajectory]
        with _place_to_write(png) as place:
            draw_trajectory(place, values, inspected[0].sides(pipe.label_names)[1])
    return inspection


@contextmanager
def _place_to_write(path: Path) -> Iterator[Path]:
    """Where a file is replaced, so that links, pipes and devices stay what they are."""
    if path.exists() and not path.is_file():
        with TemporaryDirectory() as folder:
            place = Path(folder) / "content"
            yield place
            path.write_bytes(place.read_bytes())
        return
    place = path.resolve()
    place.parent.mkdir(parents=True, exist_ok=True)
    yield place


def untrained_pipeline(
    preset: str, reviews: Any, seed: int, device: str | None, dtype: str | None
) -> SentimentPipeline:
    """The network of a preset with random weights, its tokenizer trained on the reviews."""
    settings = get_preset(preset)
    tokenizer = train_tokenizer(reviews["text"], settings.vocab_size)
    kind = reviews.features["label"]
    names = dict(enumerate(kind.names)) if isinstance(kind, ClassLabel) else {0: "neg", 1: "pos"}
    torch.manual_seed(seed)
    config = LSTMConfig(tokenizer.get_vocab_size(), id2label=names, **settings.network)
    network = LSTMForSequenceClassification(config).eval()
    network.to(pick_device(device), pick_dtype(dtype or "float32"))
    return SentimentPipeline(network, tokenizer)


def render(inspection: Inspection, *, colour: bool) -> str:
    """The inspection as text for a terminal."""
    parts = [render_steps(inspection.steps)]
    for text in inspection.texts:
        if text.trajectory:
            sides = text.sides(inspection.label_names)
            parts.append(render_trajectory(text.trajectory, sides, colour=colour))
        if text.explanation:
            parts.append(render_explanation(text.explanation))
    return "\n\n".join(parts)
