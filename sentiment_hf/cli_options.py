"""Options that several commands share."""

import logging
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from sentiment_hf.errors import SentimentError, decoded

DEFAULT_DATASET = "stanfordnlp/imdb"
LABEL_MAP = "A=B,..."
POSITIVE = click.IntRange(min=1)
FILE = click.Path(path_type=Path, dir_okay=False)


def label_map(text: str) -> dict[str, str]:
    from sentiment_hf.data.label_map import parse_label_map

    return parse_label_map(text)


def names(text: str) -> list[str]:
    """The names of `A,B`."""
    return [name.strip() for name in text.split(",")]


def _output_path(text: str) -> Path:
    from sentiment_hf.arguments import check_path
    from sentiment_hf.checkpoint.files import plain_path

    check_path("output", text)
    return plain_path(Path(text))


def _no_files(
    context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]
) -> tuple[str, ...]:
    """Refuses names of files where texts are meant: the words of the name would be labelled."""
    if texts and all(map(os.path.isfile, texts)):
        name = shlex.quote(texts[0])
        raise SentimentError(
            f"{texts[0]!r} is a file, not a text; label its rows with `sentiment-hf annotate {name}"
            f" --output FOLDER`, or its lines with `sentiment-hf predict < {name}`, or follow them"
            f" through the network with `sentiment-hf inspect --dataset {name}`."
        )
    return texts


def hide_progress_bars() -> None:
    """Those of the libraries; read when these are imported, which prediction never does."""
    os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"


def _quiet(context: click.Context, parameter: click.Parameter, quiet: bool) -> bool:
    if quiet:
        logging.getLogger("sentiment_hf").setLevel(logging.ERROR)
        hide_progress_bars()
    return quiet


def _options(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Several options as one decorator."""

    def decorate(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


dataset_argument = click.argument("dataset", default=DEFAULT_DATASET)
texts_argument = click.argument(
    "texts", nargs=-1, metavar="[TEXT]...", type=decoded, callback=_no_files
)
model_option = click.option(
    "--model",
    metavar="MODEL",
    help="A checkpoint folder or a Hub id [default: the reference checkpoint].",
)
host_option = click.option(
    "--host", metavar="H", help="Address to listen at [default: this machine alone]."
)
output_option = click.option(
    "--output", required=True, metavar="FOLDER", type=_output_path, help="Folder to write."
)
push_to_option = click.option(
    "--push-to", metavar="REPO_ID", help="Share the result on the Hub at the end."
)
source_options = _options(
    click.option("--config", metavar="NAME", help="Configuration of the data set."),
    click.option("--revision", metavar="REV", help="Revision of the data set on the Hub."),
    click.option("--text-column", metavar="NAME", help="Column that holds the texts."),
)
data_options = _options(
    source_options,
    click.option("--label-column", metavar="NAME", help="Column that holds the labels."),
    click.option(
        "--label-map",
        metavar=LABEL_MAP,
        type=label_map,
        help="Other names for its labels; 'A=' drops one; '\\' stands before a comma or '=' in a"
        " name, and before a blank at its ends.",
    ),
    click.option(
        "--max-samples",
        type=POSITIVE,
        help="A random sample of that many rows of each labelled split.",
    ),
    click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True),
)
compute_options = _options(
    click.option("--device", metavar="NAME", help="cpu, cuda, mps [default: the best one here]."),
    click.option(
        "--dtype",
        type=click.Choice(["float32", "bfloat16"]),
        help="Precision [default: float32; of a training, what the hardware is fast at].",
    ),
    click.option(
        "--batch-size",
        type=POSITIVE,
        help="Texts in one batch; of a training, over all its processes.",
    ),
    # Eager: it has to be known before the other options import what it is for.
    click.option(
        "--quiet", is_flag=True, is_eager=True, callback=_quiet, help="No progress and no messages."
    ),
    click.option("--json", "as_json", is_flag=True, help="The result as JSON on stdout."),
)
backend_option = click.option(
    "--backend",
    type=click.Choice(["auto", "onnx", "torch"]),
    default="auto",
    show_default=True,
    help="What computes; auto: onnx (a CPU alone, extra `onnx`) where it is installed and neither"
    " --device nor --dtype is given, else torch.",
)
training_options = _options(
    output_option,
    click.option("--init-from", metavar="MODEL", help="Start from a checkpoint or a pretraining."),
    click.option("--epochs", type=POSITIVE, help="Passes over the training texts."),
    click.option("--learning-rate", type=click.FloatRange(min=0, min_open=True), help="The peak."),
    click.option("--vocab-size", type=POSITIVE, help="Words in the tokenizer."),
    click.option("--resume", is_flag=True, help="Resume a training that was cut off."),
    click.option("--overwrite", is_flag=True, help="Replace what is in --output."),
    data_options,
    compute_options,
)
