"""The command `sentiment-hf`: options, messages and exit statuses; the work is done elsewhere."""

import io
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from sentiment_hf import cli_options as shared
from sentiment_hf.cli_output import (
    CommandGroup,
    MessageHandler,
    is_first_process,
    json_line,
    print_result,
)
from sentiment_hf.errors import SentimentError, printable
from sentiment_hf.standard_input import waiting_lines
from sentiment_hf.version import __version__

os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
# `datasets` reports what becomes our own message once more, with the absolute path.
os.environ.setdefault("DATASETS_VERBOSITY", "critical")


def _check_address(repo_id: str | None) -> None:
    """Notices before the work begins that its result could not be pushed."""
    if repo_id:
        from sentiment_hf.checkpoint.upload import check_address

        check_address(repo_id)


def _print_address(url: str, as_json: bool) -> None:
    """Where something was pushed; on stdout only where that is not one JSON object."""
    click.echo(url, err=True) if as_json else print_result(url)


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(prog)s %(version)s")
def main() -> None:
    """Small sentiment classifiers: train, measure, use and share LSTMs."""
    for stream in (sys.stdout, sys.stderr):
        # What a code page lacks is shown as its number instead of ending the command.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    logger = logging.getLogger("sentiment_hf")
    logger.handlers = [MessageHandler(main)]
    logger.setLevel(logging.INFO if is_first_process() else logging.ERROR)
    logger.propagate = False
    if not (is_first_process() and sys.stderr and sys.stderr.isatty()):
        shared.hide_progress_bars()


@main.command()
@click.argument("datasets", nargs=-1, metavar="[DATASET]...")
@click.option(
    "--preset", default="fast", show_default=True, metavar="NAME",
    help="article, fast, best, student.",
)  # fmt: skip
@click.option(
    "--teacher", metavar="TEACHER", multiple=True,
    help="Learn the answers (soft labels) of this checkpoint, or of a text classifier of"
    " transformers (folder or Hub id); given more than once, their mean.",
)  # fmt: skip
@click.option(
    "--teacher-label-map", metavar=shared.LABEL_MAP, type=shared.label_map,
    help="The teacher's labels = those of the data; 'A=' drops one.",
)  # fmt: skip
@click.option(
    "--unlabelled-split", metavar="A,B", type=shared.names,
    help="Texts for the teacher to label, too.",
)  # fmt: skip
@click.option(
    "--sentences", type=click.IntRange(min=0),
    help="Sentences and pieces of the texts for the teacher to label [default: up to 200,000].",
)  # fmt: skip
@click.option("--balanced", is_flag=True, help="Weigh rare labels as much as frequent ones.")
@click.option("--max-length", type=shared.POSITIVE, help="Words kept of a longer text.")
@shared.push_to_option
@shared.training_options
def train(
    datasets: tuple[str, ...],
    output: Path,
    push_to: str | None,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Train tokenizer and network on DATASET and write a checkpoint folder.

    DATASET is `sample`, a folder, a csv, tsv, json, jsonl or parquet file, or a Hub id [default:
    stanfordnlp/imdb]. Several are learnt from together; their labels must have the same names.
    """
    _check_address(push_to)
    from sentiment_hf.training.train import train as run

    with _resumable(output):
        run(datasets or [shared.DEFAULT_DATASET], output, show_progress=not quiet, **options)
    if not is_first_process():
        return
    _print_training(output, "validation_accuracy", as_json)
    if push_to:
        from sentiment_hf.checkpoint.upload import push_folder

        _print_address(push_folder(output, push_to), as_json)


@main.command()
@shared.dataset_argument
@click.option(
    "--splits", metavar="A,B", type=shared.names, help="Splits to read [default: all but test]."
)
@shared.training_options
def pretrain(dataset: str, output: Path, quiet: bool, as_json: bool, **options: Any) -> None:
    """Pretrain embedding and LSTM on DATASET [default: stanfordnlp/imdb], for `--init-from`."""
    from sentiment_hf.training.pretrain import pretrain as run

    with _resumable(output):
        run(dataset, output, show_progress=not quiet, **options)
    if is_first_process():
        _print_training(output, "perplexity", as_json)


@contextmanager
def _resumable(output: Path) -> Iterator[None]:
    """Says how an interrupted training is resumed, if it has come far enough for that."""
    try:
        yield
    except KeyboardInterrupt as error:
        from sentiment_hf.training.state import STATE_FOLDER, StateFolder

        if not StateFolder(output / STATE_FOLDER).exists():
            raise
        raise SentimentError(
            f"interrupted; what is trained so far is kept in {output}: the same command with"
            " --resume resumes it",
            exit_status=130,
        ) from error


def _print_training(output: Path, figure: str, as_json: bool) -> None:
    from sentiment_hf.checkpoint.files import read_json
    from sentiment_hf.checkpoint.folder import TRAINING_FILE

    record = read_json(output / TRAINING_FILE)
    shown = f"{printable(str(output))}\t{figure.replace('_', ' ')} {record[figure]:.4f}"
    print_result(json_line(record) if as_json else shown)


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("repo_id")
@click.option("--space", is_flag=True, help="FOLDER is a page from `export`: as a static Space.")
@click.option("--private", is_flag=True, default=None, help="Make the repository private.")
@click.option("--branch", metavar="NAME", help="Push to a branch; it is made if there is none.")
@click.option("--create-pr", is_flag=True, help="Push as a pull request.")
@click.option("--tag", metavar="NAME", help="Name the new commit.")
@click.option("--replace-card", is_flag=True, help="Replace a card that was edited on the Hub.")
def push(folder: Path, repo_id: str, **options: Any) -> None:
    """Share the checkpoint, or the page, in FOLDER as REPO_ID (user/name) on the Hub."""
    from sentiment_hf.checkpoint.upload import push_folder

    print_result(push_folder(folder, repo_id, **options))


@main.command()
@click.argument("dataset")
@shared.output_option
@shared.model_option
@click.option("--split", metavar="NAME", help="One split [default: all].")
@click.option("--streaming", is_flag=True, help="Read piece by piece, in constant memory.")
@click.option(
    "--num-shards", type=shared.POSITIVE, default=1, help="Label one of so many parts ..."
)
@click.option("--shard-index", type=click.IntRange(min=0), default=0, help="... this one, from 0.")
@click.option(
    "--rows-per-shard", type=shared.POSITIVE, help="Rows of a parquet file [default: 20,000]."
)
@shared.push_to_option
@shared.source_options
@shared.backend_option
@shared.compute_options
def annotate(
    dataset: str, output: Path, push_to: str | None, quiet: bool, as_json: bool, **options: Any
) -> None:
    """Label every row of DATASET and write it as parquet, with all its columns."""
    _check_address(push_to)
    from sentiment_hf.annotated_folder import count_written, push_annotation
    from sentiment_hf.annotation import annotate as run

    given = {name: value for name, value in options.items() if value is not None}
    run(dataset, output, show_progress=not quiet, **given)
    counts = count_written(output)
    print_result(
        json_line(counts) if as_json else f"{printable(str(output))}\t{counts['rows']} rows"
    )
    if push_to:
        _print_address(push_annotation(output, push_to), as_json)


@main.command()
@shared.dataset_argument
@shared.model_option
@click.option("--split", metavar="NAME", help="[default: test, or the only one there is]")
@click.option("--save", is_flag=True, help="Write the figures into the checkpoint folder.")
@shared.data_options
@shared.backend_option
@shared.compute_options
def evaluate(dataset: str, quiet: bool, as_json: bool, **options: Any) -> None:
    """Measure a checkpoint on a labelled split of DATASET [default: stanfordnlp/imdb]."""
    from sentiment_hf.evaluation import evaluate as run

    results = run(dataset, **options)
    if as_json:
        print_result(json_line(results))
        return
    for name, value in results.items():
        shown = f"{value:.4f}" if isinstance(value, float) and name != "seconds" else value
        print_result(f"{name}\t{shown}")


@main.command()
@shared.texts_argument
@shared.model_option
@click.option(
    "--top-k", type=shared.POSITIVE, default=1, show_default=True, help="Labels for each text."
)
@shared.backend_option
@shared.compute_options
def predict(texts: tuple[str, ...], top_k: int, quiet: bool, as_json: bool, **options: Any) -> None:
    """Label each TEXT, or each line of stdin (also with -)."""
    from sentiment_hf.pipeline import SentimentPipeline

    batch_size = options.pop("batch_size")
    pipe = SentimentPipeline.from_pretrained(**options)
    for some in waiting_lines() if texts in ((), ("-",)) else [list(texts)]:
        answers = pipe(some, top_k=top_k, batch_size=batch_size)
        for text, labels in zip(some, answers, strict=True):
            for answer in labels:
                if as_json:
                    print_result(json_line({"text": text, **answer}))
                else:
                    shown = printable(" ".join(text.split()))
                    label = printable(answer["label"])
                    print_result(f"{label}\t{answer['score']:.4f}\t{shown}")


@main.command()
@click.argument("model")
@click.option(
    "--format", "kind", required=True, type=click.Choice(["onnx", "transformers", "web"]),
    help="An ONNX graph, code for transformers, or a static page.",
)  # fmt: skip
@shared.output_option
@click.option(
    "--dtype", type=click.Choice(["float32", "float16", "int8"]),
    help="How ONNX stores the weights [default: as the checkpoint does].",
)  # fmt: skip
@click.option(
    "--libraries", metavar="FOLDER", type=click.Path(path_type=Path),
    help="node_modules with what the page needs [default: that of this folder, else from npm].",
)  # fmt: skip
def export(model: str, kind: str, output: Path, dtype: Any, libraries: Path | None) -> None:
    """Write the network of MODEL for other places: `onnx`, `transformers` or `web`.

    `onnx` and `web` need the extra `onnx`; `web`, a page for any host of static files, also two
    packages of npm.
    """
    if libraries is not None and kind != "web":
        raise SentimentError(f"`libraries` is for web: {kind} takes none.")
    if dtype is not None and kind == "transformers":
        raise SentimentError(
            "`dtype` is for onnx and web: transformers gets the weights unchanged."
        )
    if kind == "web":
        from sentiment_hf.export.web_folder import export_web

        export_web(model, output, dtype=dtype, libraries=libraries)
    elif kind == "onnx":
        from sentiment_hf.export.onnx_folder import export_onnx

        export_onnx(model, output, dtype=dtype)
    else:
        from sentiment_hf.export.transformers_folder import export_transformers

        export_transformers(model, output)
    print_result(printable(str(output)))


@main.command()
@shared.texts_argument
@shared.model_option
@click.option("--dataset", metavar="DATASET", help="Whose 50 reviews [default: the sample's].")
@click.option("--preset", metavar="NAME", help="A new network, with --untrained.")
@click.option("--untrained", is_flag=True, help="Show the network of --preset before training.")
@click.option("--trajectory", is_flag=True, help="The answer after each word.")
@click.option("--explain", is_flag=True, help="What each word contributes.")
@click.option("--html", type=shared.FILE, help="Write a page.")
@click.option("--png", type=shared.FILE, help="Draw the trajectory.")
@shared.data_options
@shared.compute_options
def inspect(texts: tuple[str, ...], quiet: bool, as_json: bool, **options: Any) -> None:
    """Read between the layers: follow each TEXT, or 50 reviews, through the network."""
    from sentiment_hf.inspection import inspect as run
    from sentiment_hf.inspection import render

    inspection = run(texts, **options)
    if as_json:
        print_result(json_line(inspection.to_dict()))
    else:
        colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        print_result(render(inspection, colour=colour))


@main.command()
@shared.model_option
@shared.host_option
@click.option("--port", type=click.IntRange(1, 65535), help="Port [default: from 7860 on].")
def demo(model: str | None, host: str | None, port: int | None) -> None:
    """Open the page: type a review and look inside (extra `demo`)."""
    from sentiment_hf.app import launch

    launch(model, host, port)


@main.command()
@shared.model_option
@shared.host_option
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True,
    help="Port; 0: any free one.",
)  # fmt: skip
@shared.backend_option
def serve(**options: Any) -> None:
    """Answer HTTP requests: POST /predict, GET /healthz (extra `serve`)."""
    from sentiment_hf.serving import serve as run

    run(**options)


if __name__ == "__main__":
    main()
