"""A card on the Hub and a newly rendered one become one: what a person wrote is kept.

What a person changed is what differs between the card on the Hub and the metadata that the files
beside it give: a merge of three, as git makes it.
"""

import logging
from typing import Any

from sentiment_hf.checkpoint.card import is_as_rendered
from sentiment_hf.errors import SentimentError

logger = logging.getLogger(__name__)


def merged_card(ours: str, theirs: bytes, base: dict[str, Any]) -> bytes:
    """The card to push.

    Args:
        ours: the new card.
        theirs: the card on the Hub.
        base: the metadata that was rendered for the checkpoint on the Hub.

    Raises:
        SentimentError: the card on the Hub cannot be read.
    """
    from huggingface_hub import ModelCard, ModelCardData

    try:
        text = theirs.decode("utf-8")
        kept = ModelCard(text.replace("\r\n", "\n"))
        written = kept.data.to_dict()
        wanted = _merged_metadata(base, written, ModelCard(ours).data.to_dict())
        if is_as_rendered(kept.text):
            kept = ModelCard(ours)
        else:
            logger.warning("The card on the Hub was edited by hand: its text is kept.")
            if wanted == written:
                return theirs
        if wanted != kept.data.to_dict():
            kept.data = ModelCardData(**wanted)
        content = str(kept)
    except Exception as error:  # The YAML library, the Hub's library and Python each have theirs.
        reason = " ".join(str(error).split())[:120]
        raise SentimentError(
            f"The card on the Hub cannot be read ({reason}); `replace_card` replaces it."
        ) from error
    return (content.replace("\n", "\r\n") if "\r\n" in text else content).encode()


def _merged_metadata(
    base: dict[str, Any], theirs: dict[str, Any], ours: dict[str, Any]
) -> dict[str, Any]:
    merged = {}
    for key in [*theirs, *(key for key in ours if key not in theirs)]:
        values = base.get(key), theirs.get(key), ours.get(key)
        if key == "model-index":
            value = _merged_results(*values)
        elif any(isinstance(value, list) for value in values):
            value = _merged_list(*values)
        else:
            value = values[2] if values[1] == values[0] else values[1]
        if value not in (None, []):
            merged[key] = value
    return merged


def _merged_list(base: Any, theirs: Any, ours: Any) -> Any:
    before, there, new = _as_list(base), _as_list(theirs), _as_list(ours)
    kept = [value for value in there if value in new or value not in before]
    added = [value for value in new if value not in there and value not in before]
    merged = kept + added
    return theirs if merged == there else merged


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _merged_results(base: Any, theirs: Any, ours: Any) -> Any:
    """The results of `model-index`: what was measured now, and what a person added."""
    from huggingface_hub.repocard_data import (
        eval_results_to_model_index,
        model_index_to_eval_results,
    )

    if theirs is None or theirs == base:
        return ours
    _, before = model_index_to_eval_results(base) if base else ("", [])
    name, there = model_index_to_eval_results(theirs)
    if ours:
        name, new = model_index_to_eval_results(ours)
    else:
        new = []
    known = {_measurement(result) for result in [*before, *new]}
    added = [result for result in there if _measurement(result) not in known]
    return eval_results_to_model_index(name, [*new, *added]) if new or added else None


def _measurement(result: Any) -> tuple:
    """What a result says the value of."""
    return (*result.unique_identifier, result.dataset_name, result.metric_type, result.metric_name)
