"""The model card: rendered from what was measured and written down, and from nothing else."""

import hashlib
import html
import logging
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sentiment_hf.checkpoint.files import LARGEST_CONFIG_BYTES, read_bytes, read_json, write_text
from sentiment_hf.checkpoint.folder import (
    CARD_FILE,
    RECORD_FILES,
    TOKENIZER_FILE,
    is_own_file,
    published,
    read_config,
)
from sentiment_hf.checkpoint.records import read_record
from sentiment_hf.checkpoint.staging import name_of
from sentiment_hf.errors import SentimentError, json_text, printable
from sentiment_hf.version import __version__

if TYPE_CHECKING:
    from huggingface_hub import ModelCardData

logger = logging.getLogger(__name__)

TEMPLATE = Path(__file__).parent / "card_template.md"
HUB_IMDB = "stanfordnlp/imdb"
# What local copies are called, and where they are on the Hub; FDU-MTL is at its authors'.
HUB_IDS = {"imdb": HUB_IMDB, "sst2": "stanfordnlp/sst2"}
PUBLIC_ENGLISH = {*HUB_IDS.values(), "fdu_mtl"}
METRICS = ("accuracy", "precision", "recall", "f1", "roc_auc", "log_loss", "ece")
HUB_METRICS = METRICS[:5]
# What begins code or a link in Markdown, ends a cell, or takes the meaning from these.
MARKDOWN = re.compile(r"[\\\[\]`|]")


def write_card(folder: Path, before: Path | None = None) -> None:
    """Renders the card of a checkpoint folder from its files.

    Args:
        before: the folder as it was; what a person wrote into its card is kept.
    """
    card = render_card(folder)
    if before is not None and is_own_file(before / CARD_FILE):
        card = updated_card(before, name_of(folder), card)
    write_text(folder / CARD_FILE, card)


def as_code(text: str, *, cell: bool = False) -> str:
    """A text as code in Markdown, whatever is in it.

    Args:
        cell: of a table, which a bar would end.
    """
    text = printable(text).replace("|", "\\|" if cell else "|")
    if "`" not in text:
        return f"`{text}`"
    fence = "`" * (1 + max(map(len, re.findall("`+", text))))
    return f"{fence} {text} {fence}"


class _Text(str):
    """Text in Markdown; a list that is printed shows it as it is, without a second escaping."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"'{self}'"


def as_text(value: Any) -> Any:
    """What a record says, as text in Markdown: no HTML, no link, no end of a cell, no code."""
    if isinstance(value, str):
        return _Text(MARKDOWN.sub(r"\\\g<0>", html.escape(printable(value), quote=False)))
    if isinstance(value, list):
        return [as_text(one) for one in value]
    if isinstance(value, dict):
        return {as_text(key): as_text(one) for key, one in value.items()}
    return value


def render_card(folder: Path, repo_id: str | None = None) -> str:
    """The text of the card.

    Args:
        repo_id: where the checkpoint lives on the Hub, if it does.

    Raises:
        SentimentError: the configuration or a record is damaged.
    """
    from huggingface_hub import ModelCard

    config = read_config(folder)
    training, results = (read_record(folder, name) for name in RECORD_FILES)
    model = repo_id or name_of(folder)
    name = model.rsplit("/", maxsplit=1)[-1]
    try:
        data = _card_data(name, training, results)
        card = ModelCard.from_template(
            data,
            template_path=str(TEMPLATE),
            name=as_text(name),
            model=json_text(model),
            command=as_code(f"sentiment-hf evaluate my.csv --model {model}"),
            config=config,
            has_tokenizer=(folder / TOKENIZER_FILE).exists(),
            labels=" and ".join(map(as_code, config.label_names)),
            training=as_text(training),
            results=as_text(results),
            metrics=METRICS,
            figures=[
                (as_text(path.stem.replace("_", " ")), quote(os.fsencode(path.name)))
                for path in published(folder)
                if path.parent != folder
            ],
            licence=data.license,
            imdb=HUB_IMDB in (data.datasets or []),
            config_version=__version__,
        )
    except (SentimentError, OSError):
        raise
    except Exception as error:  # A record of another shape fails where it is first used.
        raise SentimentError(
            f"{' or '.join(RECORD_FILES)} in {folder} is damaged, so that no card can be"
            f" rendered from it: {type(error).__name__}, {str(error)[:80]}."
        ) from error
    return f"{str(card).rstrip()}\n\n{_signature(card.text)}\n"


def updated_card(folder: Path, model: str, new: str) -> str:
    """A card brought up to date: what a person wrote into it is kept.

    Args:
        folder: holds the card and the records that it was rendered from.
        model: what the card is called in messages.
        new: the card as it is rendered now.

    Raises:
        SentimentError: the card cannot be read.
    """
    from huggingface_hub import ModelCard, ModelCardData

    # Where a record is damaged, or the configuration is not there, it cannot be rendered again.
    with suppress(SentimentError):
        if read_bytes(folder / CARD_FILE, LARGEST_CONFIG_BYTES) == render_card(folder).encode():
            return new
    try:
        records = [
            read_json(path) if (path := folder / name).exists() else {} for name in RECORD_FILES
        ]
        previous = _card_data(model.rsplit("/", maxsplit=1)[-1], *records)
    except Exception:  # Damaged records say nothing of the card, and are about to be replaced.
        previous = ModelCardData()
    try:
        card, rendered = ModelCard.load(folder / CARD_FILE), ModelCard(new)
        before = card.data.to_dict()
        update_metadata(card.data, previous, rendered.data)  # type: ignore[arg-type]
        if is_as_rendered(card.text):
            rendered.data = card.data
            return str(rendered)
        logger.warning("The card of %s was edited by hand: its text is kept.", model)
        if card.data.to_dict() == before:
            return (folder / CARD_FILE).read_bytes().decode()
        return str(card)
    except Exception as error:  # The YAML library, the Hub's library and Python each have theirs.
        reason = " ".join(str(error).split())[:120]
        raise SentimentError(
            f"The card of {model} cannot be read ({reason}); `replace_card` replaces it."
        ) from error


def update_metadata(data: "ModelCardData", previous: "ModelCardData", new: "ModelCardData") -> None:
    """Replaces what the previous push rendered; what differs from it was written by a person."""
    known = [*(previous.eval_results or []), *(new.eval_results or [])]
    added = [
        result
        for result in data.eval_results or []
        if not any(result.is_equal_except_value(one) for one in known)
    ]
    model_name = new.model_name or data.model_name
    for key in vars(new):
        if data.get(key) == previous.get(key):
            data[key] = new.get(key)
    data.eval_results = [*(new.eval_results or []), *added] or None
    data.model_name = model_name if data.eval_results else None


def _signature(text: str) -> str:
    digest = hashlib.sha256(" ".join(text.split()).encode()).hexdigest()[:16]
    return f"<!-- rendered by sentiment-hf, {digest} -->"


def is_as_rendered(text: str) -> bool:
    """Whether the text of a card is still as it was rendered: nobody has edited it."""
    above, marker, rest = text.rpartition("<!-- rendered by sentiment-hf, ")
    return f"{marker}{rest}".strip() == _signature(above)


def hub_id(dataset: str | None) -> str | None:
    """The Hub id of a data set, where its name gives one away."""
    if dataset in HUB_IDS:
        return HUB_IDS[dataset]
    return dataset if dataset and dataset.count("/") == 1 else None


def _card_data(name: str, training: dict[str, Any], results: dict[str, Any]) -> "ModelCardData":
    from huggingface_hub import EvalResult, ModelCardData

    data = training.get("data", {})
    learnt_from = [one.get("dataset") for one in data.get("datasets") or [data]]
    hub_ids = [known for known in map(hub_id, learnt_from) if known]
    is_public = HUB_IMDB in hub_ids and all(
        (hub_id(dataset) or dataset) in PUBLIC_ENGLISH for dataset in learnt_from
    )
    eval_results = [
        EvalResult(
            task_type="text-classification",
            task_name="Text Classification",
            dataset_type=(dataset := hub_id(one["dataset"]) or one["dataset"]),
            dataset_name=dataset,
            dataset_config=one.get("config"),
            dataset_split=one["split"],
            dataset_revision=one.get("revision"),
            metric_type=metric,
            metric_value=round(one[metric], 4),
        )
        for one in [results, *results.get("others", [])]
        for metric in HUB_METRICS
        if one.get("dataset") and one.get(metric) is not None
    ]
    return ModelCardData(
        language="en" if is_public else None,
        license="apache-2.0" if is_public else None,
        library_name="sentiment-hf",
        pipeline_tag="text-classification",
        tags=["lstm", "sentiment-analysis"],
        datasets=hub_ids or None,
        metrics=["accuracy", "f1"] if eval_results else None,
        model_name=name if eval_results else None,
        eval_results=eval_results or None,
        ignore_metadata_errors=False,
    )
