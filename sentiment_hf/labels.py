"""Label names: what a data set calls its classes, matched to what a checkpoint calls them."""

from collections.abc import Mapping, Sequence

from sentiment_hf.errors import SentimentError


def parse_label_map(text: str | None) -> dict[str, str]:
    """Reads `positive=pos,negative=neg`.

    Raises:
        SentimentError: a part that is no `name=name`, or a name that stands twice on the left.
    """
    pairs: dict[str, str] = {}
    for part in text.split(",") if text else []:
        name, sign, new_name = (piece.strip() for piece in part.partition("="))
        if not (name and sign and new_name) or name in pairs:
            raise SentimentError(
                f"The label map {text!r} is not of the form positive=pos,negative=neg."
            )
        pairs[name] = new_name
    return pairs


def rename_labels(names: Sequence[str], label_map: Mapping[str, str]) -> list[str]:
    """Applies a label map to the names of a data set; two names may become one.

    Raises:
        SentimentError: the map names a label that the data set does not have.
    """
    unknown = [name for name in label_map if name not in names]
    if unknown:
        raise SentimentError(
            f"The label map names {_listed(unknown)}, but the data set's labels are"
            f" {_listed(names)}."
        )
    return [label_map.get(name, name) for name in names]


def match_labels(dataset_names: Sequence[str], model_names: Sequence[str]) -> list[int]:
    """The model's class id of each of the data set's classes.

    Raises:
        SentimentError: a label of the data set that the model does not know; both sides are listed.
    """
    unknown = [name for name in dataset_names if name not in model_names]
    if unknown:
        raise SentimentError(
            f"The data set's labels {_listed(dataset_names)} do not match the checkpoint's"
            f" {_listed(model_names)}; name the pairs with --label-map"
            f" {unknown[0]}={model_names[0]},..."
        )
    return [model_names.index(name) for name in dataset_names]


def _listed(names: Sequence[str], most: int = 10) -> str:
    listed = ", ".join(repr(name)[:60] for name in names[:most])
    return listed if len(names) <= most else f"{listed}, ... ({len(names)} in all)"
