"""The command `sentiment-hf`: options, sentences and exit statuses; the work is done elsewhere."""

import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import click

from sentiment_hf.errors import SentimentError, message_and_status
from sentiment_hf.version import __version__

LINES_AT_ONCE = 4096
DEFAULT_DATASET = "stanfordnlp/imdb"

# torch.autocast and tokenizers warn about things that are no concern of the user's.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")


class _CommandGroup(click.Group):
    """Ends every failure with one sentence and the right exit status."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            sys.exit(super().main(*args, **{**kwargs, "standalone_mode": False}) or 0)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.ctx.get_help(), err=True)
            sys.exit(2)
        except click.ClickException as error:
            message = error.format_message()
            if isinstance(error, click.NoSuchOption):
                message += " A text that begins with '-' goes after '--'."
            _fail(*message_and_status(SentimentError(message)))
        except click.Abort:
            _fail(*message_and_status(KeyboardInterrupt()))
        except (Exception, KeyboardInterrupt) as error:
            _fail(*message_and_status(error))


def _say(line: str) -> None:
    """Writes a result; ends quietly where the reader of our output has seen enough."""
    try:
        click.echo(line)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _fail(message: str, exit_status: int) -> None:
    click.echo(f"error: {_with_options(message)}", err=True)
    sys.exit(exit_status)


def _with_options(message: str) -> str:
    """A message of the library with the options of the command in place of Python's parameters."""
    options = {
        parameter.name: parameter.opts[0]
        for command in main.commands.values()
        for parameter in command.params
        if isinstance(parameter, click.Option)
    }
    return re.sub(r"`(\w+)`", lambda found: options.get(found[1], found[0]), message)


@click.group(cls=_CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(prog)s %(version)s")
def main() -> None:
    """Small sentiment classifiers: train, measure, use and share LSTMs."""


def _options(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Several options as one decorator."""

    def decorate(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


class _LabelMap(click.ParamType):
    name = "a=b,..."

    def convert(self, value: Any, param: Any, ctx: Any) -> dict[str, str]:
        from sentiment_hf.data.columns import parse_label_map

        return value if isinstance(value, dict) else parse_label_map(value)


class _OutputPath(click.ParamType):
    name = "folder"

    def convert(self, value: Any, param: Any, ctx: Any) -> Path:
        from sentiment_hf.checkpoint.files import plain_path

        return plain_path(Path(value))


POSITIVE = click.IntRange(min=1)
RATE = click.FloatRange(min=0, min_open=True)

model_option = click.option(
    "--model",
    metavar="MODEL",
    help="A checkpoint folder or a Hub id [default: the reference checkpoint].",
)
output_option = click.option("--output", required=True, type=_OutputPath(), help="Folder to write.")
json_option = click.option("--json", "as_json", is_flag=True, help="The result as JSON on stdout.")
compute_options = _options(
    click.option("--device", metavar="NAME", help="cpu, cuda, mps [default: the best one here]."),
    click.option("--dtype", type=click.Choice(["float32", "bfloat16"]), help="Precision."),
    click.option("--batch-size", type=POSITIVE, help="Texts in one batch."),
    click.option("--quiet", is_flag=True, help="No progress and no messages."),
)
SEED = click.IntRange(0, 2**32 - 1)
seed_option = click.option("--seed", type=SEED, default=0, show_default=True)
dataset_argument = click.argument("dataset", default=DEFAULT_DATASET)
reading_options = _options(
    click.option("--config", metavar="NAME", help="Configuration of the data set."),
    click.option("--revision", metavar="REV", help="Revision of the data set on the Hub."),
    click.option("--text-column", metavar="NAME", help="Column that holds the texts."),
    click.option("--label-column", metavar="NAME", help="Column that holds the labels."),
    click.option("--label-map", type=_LabelMap(), help="The data set's labels = other names."),
    click.option("--max-samples", type=POSITIVE, help="A random sample of that many rows."),
)


def _is_first_process() -> bool:
    """Whether this process speaks: of several that torchrun started, the first one does."""
    return os.environ.get("RANK", "0") == "0"


def _listen(quiet: bool) -> None:
    """Sends messages to stderr, between progress bars, or nowhere."""
    from tqdm.auto import tqdm

    quiet = quiet or not _is_first_process()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            tqdm.write(_with_options(self.format(record)), file=sys.stderr)

    logger = logging.getLogger("sentiment_hf")
    logger.handlers = [Handler()]
    logger.setLevel(logging.ERROR if quiet else logging.INFO)
    logger.propagate = False
    # It reports what becomes our sentence once more, with the absolute path.
    os.environ.setdefault("DATASETS_VERBOSITY", "critical")
    if quiet or not sys.stderr.isatty():
        # Read when these are imported, which prediction from a local folder never does.
        os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
        os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"


@main.command()
@click.argument("datasets", nargs=-1, metavar="[DATASET]...")
@output_option
@click.option(
    "--preset",
    default="fast",
    show_default=True,
    metavar="NAME",
    help="article, fast, best, student.",
)
@click.option("--init-from", metavar="MODEL", help="Start from a checkpoint or from `pretrain`.")
@click.option(
    "--teacher",
    metavar="MODEL",
    multiple=True,
    help="Learn the answers (soft labels) of this checkpoint, or of a text classifier of"
    " transformers (folder or Hub id); given more than once, their mean.",
)
@click.option(
    "--teacher-label-map", type=_LabelMap(), help="The teacher's labels = those of the data."
)
@click.option("--unlabelled-split", metavar="A,B", help="Texts for the teacher to label, too.")
@click.option(
    "--sentences",
    type=click.IntRange(min=0),
    help="Sentences and pieces of the texts for the teacher to label [default: up to 200,000].",
)
@click.option("--balanced", is_flag=True, help="Give rare labels the same say as frequent ones.")
@click.option("--epochs", type=POSITIVE)
@click.option("--learning-rate", type=RATE)
@click.option("--vocab-size", type=POSITIVE, help="Words in the tokenizer.")
@click.option("--max-length", type=POSITIVE, help="Words kept of a longer text.")
@click.option("--resume", is_flag=True, help="Go on with a training that was cut off.")
@click.option("--overwrite", is_flag=True, help="Replace the checkpoint in --output.")
@click.option("--push-to", metavar="REPO_ID", help="Share the checkpoint on the Hub at the end.")
@reading_options
@compute_options
@seed_option
@json_option
def train(
    datasets: tuple[str, ...],
    output: Path,
    push_to: str | None,
    unlabelled_split: str | None,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Train tokenizer and network on DATASET and write a checkpoint folder.

    DATASET is `sample`, a folder, a csv, json, jsonl or parquet file, or a Hub id [default:
    stanfordnlp/imdb]. Several are learnt from together; their labels must have the same names.
    """
    _listen(quiet)
    if push_to:
        from sentiment_hf.checkpoint.upload import check_address

        check_address(push_to)
    from sentiment_hf.training.train import train as run

    with _kept_when_interrupted(output):
        run(
            datasets or [DEFAULT_DATASET],
            output,
            unlabelled_split=_names(unlabelled_split),
            show_progress=not quiet,
            **options,
        )
    if not _is_first_process():
        return
    _say_trained(output, "validation_accuracy", as_json)
    if push_to:
        _push(output, push_to, as_json)


def _names(listed: str | None) -> list[str] | None:
    """The names of `A,B`."""
    return [name.strip() for name in listed.split(",")] if listed else None


@contextmanager
def _kept_when_interrupted(output: Path) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        from sentiment_hf.training.state import STATE_FOLDER, StateFolder

        if not StateFolder(output / STATE_FOLDER).exists():
            raise
        raise SentimentError(
            f"interrupted; what is trained so far is kept in {output}: the same command with"
            " --resume goes on",
            exit_status=130,
        ) from None


def _say_trained(output: Path, figure: str, as_json: bool) -> None:
    from sentiment_hf.checkpoint.files import read_json
    from sentiment_hf.checkpoint.folder import TRAINING_FILE

    record = read_json(output / TRAINING_FILE)
    shown = f"{output}\t{figure.replace('_', ' ')} {record[figure]:.4f}"
    _say(json.dumps(record) if as_json else shown)


def _push(folder: Path, repo_id: str, as_json: bool = False, **options: Any) -> None:
    from sentiment_hf.checkpoint.upload import push_folder

    _say_address(push_folder(folder, repo_id, **options), as_json)


def _say_address(url: str, as_json: bool) -> None:
    """Where something was pushed; on stdout only where that is not one JSON object."""
    click.echo(url, err=True) if as_json else _say(url)


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("repo_id")
@click.option("--private", is_flag=True, default=None, help="Make the repository private.")
@click.option("--branch", metavar="NAME", help="Push to a branch; it is made if there is none.")
@click.option("--create-pr", is_flag=True, help="Push as a pull request.")
@click.option("--tag", metavar="NAME", help="Name the new commit.")
@click.option("--replace-card", is_flag=True, help="Replace a card that was edited on the Hub.")
def push(folder: Path, repo_id: str, **options: Any) -> None:
    """Share the checkpoint in FOLDER as REPO_ID (user/name) on the Hub."""
    _listen(quiet=False)
    _push(folder, repo_id, **options)


@main.command()
@dataset_argument
@output_option
@click.option("--splits", metavar="A,B", help="Splits to read [default: all but test].")
@click.option("--init-from", metavar="MODEL", help="Go on from a checkpoint or from `pretrain`.")
@click.option("--epochs", type=POSITIVE)
@click.option("--learning-rate", type=RATE)
@click.option("--vocab-size", type=POSITIVE, help="Words in the tokenizer.")
@click.option("--resume", is_flag=True, help="Go on with a pretraining that was cut off.")
@click.option("--overwrite", is_flag=True, help="Replace what is in --output.")
@reading_options
@compute_options
@seed_option
@json_option
def pretrain(
    dataset: str, output: Path, splits: str | None, quiet: bool, as_json: bool, **options: Any
) -> None:
    """Pretrain embedding and LSTM on the texts of DATASET, for `train --init-from`."""
    _listen(quiet)
    from sentiment_hf.training.pretrain import pretrain as run

    with _kept_when_interrupted(output):
        run(dataset, output, splits=_names(splits), show_progress=not quiet, **options)
    if _is_first_process():
        _say_trained(output, "perplexity", as_json)


@main.command()
@click.argument("dataset")
@output_option
@model_option
@click.option("--split", metavar="NAME", help="One split [default: all].")
@click.option("--streaming", is_flag=True, help="Read piece by piece, in constant memory.")
@click.option("--num-shards", type=POSITIVE, default=1, help="Label one of so many parts ...")
@click.option("--shard-index", type=click.IntRange(min=0), default=0, help="... this one, from 0.")
@click.option("--rows-per-shard", type=POSITIVE, help="Rows of a parquet file.")
@click.option("--push-to", metavar="REPO_ID", help="Share the labelled data set on the Hub.")
@click.option("--config", metavar="NAME", help="Configuration of the data set.")
@click.option("--revision", metavar="REV", help="Revision of the data set on the Hub.")
@click.option("--text-column", metavar="NAME", help="Column that holds the texts.")
@compute_options
@json_option
def annotate(
    dataset: str,
    output: Path,
    push_to: str | None,
    rows_per_shard: int | None,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Label every row of DATASET and write it as parquet, with all its columns."""
    _listen(quiet)
    from sentiment_hf import annotation

    if push_to:
        from sentiment_hf.checkpoint.upload import check_address

        check_address(push_to)
    size = rows_per_shard or annotation.ROWS_PER_SHARD
    written = annotation.annotate(
        dataset, output, rows_per_shard=size, show_progress=not quiet, **options
    )
    counts = annotation.count_written(written)
    _say(json.dumps(counts) if as_json else f"{output}\t{counts['rows']} rows")
    if push_to:
        from sentiment_hf.annotation import push_annotation

        _say_address(push_annotation(written, push_to), as_json)


@main.command()
@dataset_argument
@model_option
@click.option("--split", default="test", show_default=True)
@click.option("--save", is_flag=True, help="Write the figures into the checkpoint folder.")
@reading_options
@compute_options
@seed_option
@json_option
def evaluate(dataset: str, quiet: bool, as_json: bool, **options: Any) -> None:
    """Measure a checkpoint on a labelled split of DATASET."""
    _listen(quiet)
    from sentiment_hf.evaluation import evaluate as run

    results = run(dataset, **options)
    if as_json:
        _say(json.dumps(results))
        return
    for name, value in results.items():
        shown = f"{value:.4f}" if isinstance(value, float) and name != "seconds" else value
        _say(f"{name}\t{shown}")


@main.command()
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@model_option
@click.option("--top-k", type=POSITIVE, default=1, show_default=True, help="Labels for each text.")
@compute_options
@json_option
def predict(
    texts: tuple[str, ...],
    model: str | None,
    top_k: int,
    device: str | None,
    dtype: str | None,
    batch_size: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Label each TEXT, or each line of stdin."""
    _listen(quiet)
    from sentiment_hf.pipeline import SentimentPipeline

    pipe = SentimentPipeline.from_pretrained(model, device=device, dtype=dtype)
    # Bytes that are no text are read as unknown characters, from either side.
    given = (text.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for text in texts)
    lines = given if texts else _stdin_lines()
    while some := list(islice(lines, LINES_AT_ONCE)):
        answers = pipe(some, top_k=top_k, batch_size=batch_size)
        for text, labels in zip(some, answers, strict=True):
            for answer in labels:
                if as_json:
                    _say(json.dumps({"text": text, **answer}, ensure_ascii=False))
                else:
                    shown = " ".join(text.split())
                    _say(f"{answer['label']}\t{answer['score']:.4f}\t{shown}")


@main.command()
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@model_option
@click.option("--dataset", metavar="DATASET", help="Read 50 reviews of its training split.")
@click.option("--preset", metavar="NAME", help="A new network, with --untrained.")
@click.option("--untrained", is_flag=True, help="Show the network of --preset before training.")
@click.option("--trajectory", is_flag=True, help="The answer after each word.")
@click.option("--explain", is_flag=True, help="What each word contributes.")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write a page.")
@click.option("--png", type=click.Path(path_type=Path, dir_okay=False), help="Draw the trajectory.")
@reading_options
@compute_options
@seed_option
@json_option
def inspect(texts: tuple[str, ...], quiet: bool, as_json: bool, **options: Any) -> None:
    """Read between the layers: follow each TEXT, or 50 reviews, through the network."""
    _listen(quiet)
    from sentiment_hf.inspection import inspect as run
    from sentiment_hf.inspection import render

    given = [t.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for t in texts]
    seen = run(given, **options)
    if as_json:
        _say(json.dumps(seen.to_dict(), ensure_ascii=False))
    else:
        colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        _say(render(seen, colour=colour))


@main.command()
@model_option
@click.option("--port", type=click.IntRange(1, 65535), help="Port on this machine.")
def demo(model: str | None, port: int | None) -> None:
    """Open the page: type a review and look inside (extra `demo`)."""
    _listen(quiet=False)
    from sentiment_hf.app import launch

    launch(model, port)


def _stdin_lines() -> Iterator[str]:
    if sys.stdin is None or sys.stdin.isatty():
        raise SentimentError("There is no text: name one, or pipe lines into the command.")
    for line in sys.stdin.buffer:
        yield line.decode("utf-8", errors="replace").rstrip("\r\n")


if __name__ == "__main__":
    main()
