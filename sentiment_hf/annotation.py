"""`annotate`: the model's answers beside every row of a data set, as parquet shards."""

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
from datasets import ClassLabel, Dataset, Features, IterableDataset, Value
from tqdm.auto import tqdm

from sentiment_hf.annotated_folder import AnnotatedPart
from sentiment_hf.arguments import check_path, check_whole
from sentiment_hf.checkpoint.download import find_checkpoint, model_name, revision_of
from sentiment_hf.checkpoint.staging import locked
from sentiment_hf.data.columns import TEXT_NAMES, find_text_column, plain_name
from sentiment_hf.data.files import check_split_names
from sentiment_hf.data.loading import DatasetSource, dataset_name, open_splits
from sentiment_hf.data.loading_errors import dataset_errors
from sentiment_hf.errors import SentimentError
from sentiment_hf.pipeline import LABEL_COLUMN, SCORE_COLUMN, SentimentPipeline, refuse_answers
from sentiment_hf.version import __version__

ROWS_PER_SHARD = 20_000
# Texts that are sorted by length and answered together.
ROWS_AT_ONCE = 4_096
# Rows to look at where no column was named.
ROWS_TO_GUESS = 1_000

Rows: TypeAlias = Dataset | IterableDataset

logger = logging.getLogger(__name__)


def annotate(
    dataset: DatasetSource,
    output: str | Path,
    *,
    model: str | Path | None = None,
    split: str | None = None,
    streaming: bool = False,
    num_shards: int = 1,
    shard_index: int = 0,
    rows_per_shard: int = ROWS_PER_SHARD,
    device: str | None = None,
    dtype: str | None = None,
    backend: str = "torch",
    batch_size: int | None = None,
    show_progress: bool = True,
    config: str | None = None,
    revision: str | None = None,
    text_column: str | None = None,
) -> Path:
    """Writes a data set with `predicted_label` and `predicted_score` into a folder.

    All columns stay as they are; a null text gets null. Returns the folder, which
    `load_dataset(output)` reads.

    Args:
        dataset, config, revision, text_column: as in `load_reviews`.
        split: one split; all by default.
        streaming: read the data set piece by piece instead of preparing it on the disk first.
        num_shards, shard_index: label one of so many parts, the first being 0, for an array of
            jobs; all of them may write into one folder, at the same time.
        rows_per_shard: rows of a parquet file.

    Raises:
        SentimentError: no such data set, column or rows, or the folder holds something else.
    """
    check_path("output", output)
    check_whole("num_shards", num_shards)
    check_whole("shard_index", shard_index, least=0, most=num_shards - 1)
    check_whole("rows_per_shard", rows_per_shard)
    names = None if split is None else [split]
    splits = open_splits(dataset, names, streaming=streaming, config=config, revision=revision)
    source = dataset_name(dataset)
    check_split_names(splits)
    splits = {name: _with_features(source, rows) for name, rows in splits.items()}
    column = text_column or _guessed_column(source, splits)
    for rows in splits.values():
        # A column that was named holds the texts, even if it is called as labels are.
        find_text_column(rows.features, column, labels=())
    totals = {name: _count(source, name, rows) for name, rows in splits.items()}
    if not sum(totals.values()):
        raise SentimentError(f"The data set {source} has no rows.")
    checkpoint = find_checkpoint(model)
    pipe = SentimentPipeline.from_pretrained(
        checkpoint, device=device, dtype=dtype, backend=backend
    )
    schemas = {
        name: labelled_features(pipe, rows.features).arrow_schema for name, rows in splits.items()
    }
    identity = {
        "dataset": source,
        "config": config,
        "revision": revision,
        "rows": totals,
        "columns": {name: str(rows.features) for name, rows in splits.items()},
        "text_column": column,
        "model": "reference" if model is None else model_name(model),
        "model_revision": revision_of(checkpoint),
        "labels": pipe.label_names,
        "dtype": dtype or "float32",
        "backend": pipe.backend,
        "model_checksum": pipe.checksum(),
        "rows_per_shard": rows_per_shard,
        "num_shards": num_shards,
        "sentiment_hf": __version__,
    }
    part = AnnotatedPart(Path(output), f"{shard_index:05d}-of-{num_shards:05d}", identity)
    with locked(part.folder, f"annotation-{part.name}.lock"):
        part.resume()
        for name, rows in splits.items():
            own = rows_of_part(totals[name], shard_index, num_shards)
            progress = tqdm(
                total=len(own), desc=f"Annotating {name}", unit="row", dynamic_ncols=True,
                disable=None if show_progress and sys.stderr else True,
            )  # fmt: skip
            with progress:
                tables = _tables(source, rows, own, totals[name], rows_per_shard)
                for number, table in enumerate(tables):
                    shard = f"data/{name}-{part.name}-{number:05d}.parquet"
                    if not part.has(shard, table):
                        labelled = labelled_table(pipe, table, column, batch_size)
                        part.write(shard, labelled.cast(schemas[name]))
                    progress.update(table.num_rows)
    if nulls := sum(shard["nulls"] for shard in part.shards.values()):
        logger.warning("%d rows have no text: null for null.", nulls)
    return part.folder


def _guessed_column(source: str, splits: dict[str, Rows]) -> str:
    """The column of texts where none was named; logs which, and refuses what looks like no text."""
    features = next(iter(splits.values())).features
    column = find_text_column(features)
    for rows in [] if plain_name(column) in TEXT_NAMES else splits.values():
        with dataset_errors(source):
            some: Any = next(iter(rows.select_columns([column]).iter(ROWS_TO_GUESS)), None)
        texts = some[column] if some else []
        if len(texts) > 2 and len(set(texts)) == 1 and texts[0] is not None:
            raise SentimentError(
                f"The column {column!r} has the same text, {texts[0]!r:.60}, in {len(texts)} rows;"
                f" name the one to read with `text_column`, among {', '.join(features)}."
            )
    logger.info("Reading the texts in the column %r of %s.", column, source)
    return column


def rows_of_part(total: int, index: int, count: int) -> range:
    """One of several equal parts of `total` rows: together they hold every row once, in order."""
    return range(index * total // count, (index + 1) * total // count)


def labelled_features(pipe: SentimentPipeline, features: Features) -> Features:
    """The columns of a data set and the two that are added, which it may not have already."""
    refuse_answers(features)
    label, score = ClassLabel(names=pipe.label_names), Value("float32")
    return Features({**features, LABEL_COLUMN: label, SCORE_COLUMN: score})


def labelled_table(
    pipe: SentimentPipeline, table: pa.Table, column: str, batch_size: int | None = None
) -> pa.Table:
    """The rows with class id and score of the texts in `column`."""
    texts = table.column(column).to_pylist()
    starts = range(0, len(texts), ROWS_AT_ONCE)
    best = [pipe.best(texts[i : i + ROWS_AT_ONCE], batch_size=batch_size) for i in starts]
    ids = pa.chunked_array([some[0] for some in best], pa.int64())
    scores = pa.chunked_array([some[1] for some in best], pa.float32())
    return table.append_column(LABEL_COLUMN, ids).append_column(SCORE_COLUMN, scores)


def _with_features(source: str, rows: Rows) -> Rows:
    """The rows with the types of their columns, which a stream of files may not name."""
    if isinstance(rows, Dataset):
        return rows
    features = rows.features
    if features is None:
        with dataset_errors(source):
            found = rows._resolve_features().features
        # A column of which the first rows are null may hold texts further on.
        null, text = Value("null"), Value("string")
        features = Features({name: text if kind == null else kind for name, kind in found.items()})
    return rows.cast(features)


def _count(source: str, name: str, rows: Rows) -> int:
    if isinstance(rows, Dataset):
        return len(rows)
    described = (rows.info.splits or {}).get(name)
    if described and described.num_examples:
        return described.num_examples
    with dataset_errors(source):
        return sum(table.num_rows for table in rows.with_format("arrow").iter(ROWS_AT_ONCE))


def _tables(source: str, rows: Rows, own: range, total: int, size: int) -> Iterator[pa.Table]:
    """The rows of a part as Arrow tables of `size` rows, the last one shorter."""
    if isinstance(rows, Dataset):
        rows = rows.select(own)
    else:
        # The last part looks whether more rows come than the card says.
        rows = rows.skip(own.start) if own.stop == total else rows.skip(own.start).take(len(own))
    count = 0
    with dataset_errors(source):
        for table in rows.with_format("arrow").iter(size):
            count += table.num_rows
            if count > len(own):
                break
            yield table
    if count != len(own):
        raise SentimentError(
            f"The data set {source} has {'more' if count > len(own) else 'fewer'} rows than its"
            " card says (num_examples); correct the card or take it away."
        )
