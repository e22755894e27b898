"""`annotate`: the model's answers beside every row of a data set, as parquet shards.

Each shard is written whole or not at all, and its checksum is noted in a record. The same command
goes on after the last whole shard, and what comes out is the same byte for byte.
"""

import hashlib
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import ClassLabel, Dataset, Features, IterableDataset, Value
from tqdm.auto import tqdm

from sentiment_hf.arguments import check_whole
from sentiment_hf.checkpoint.card import as_code, hub_id
from sentiment_hf.checkpoint.download import (
    LIBRARY,
    find_checkpoint,
    model_name,
    revision_of,
    usable_token,
)
from sentiment_hf.checkpoint.files import (
    made_folder,
    read_json,
    remove_leftovers,
    replaced_file,
    write_json,
)
from sentiment_hf.checkpoint.staging import locked
from sentiment_hf.data.columns import TEXT_NAMES, find_text_column, plain_name
from sentiment_hf.data.files import check_split_names
from sentiment_hf.data.loading import DatasetSource, dataset_errors, dataset_name, open_splits
from sentiment_hf.errors import HUB_TIMEOUT_SECONDS, SentimentError, hub_errors, printable
from sentiment_hf.pipeline import LABEL_COLUMN, SCORE_COLUMN, SentimentPipeline, refuse_answers
from sentiment_hf.version import __version__

ROWS_PER_SHARD = 20_000
# Texts that are sorted by length and answered together.
ROWS_AT_ONCE = 4_096
# Rows to look at where no column was named.
ROWS_TO_GUESS = 1_000
RECORDS = "annotation-*.json"
# What stands in the folder of an annotation.
OWN_FILES = r"annotation-.*|data|data/.+-\d{5}-of-\d{5}-\d{5}\.parquet(\.[0-9a-f]{16}\.tmp)?"
CARD_TEMPLATE = Path(__file__).parent / "dataset_card_template.md"

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
    part = _Part(Path(output), f"{shard_index:05d}-of-{num_shards:05d}", identity)
    with locked(part.folder, f"annotation-{part.name}.lock"):
        part.resume()
        for name, rows in splits.items():
            own = rows_of_part(totals[name], shard_index, num_shards)
            progress = tqdm(
                total=len(own), desc=f"Annotating {name}", unit="row", dynamic_ncols=True,
                disable=None if show_progress else True,
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
    """The column of texts where none was named, and says which.

    Raises:
        SentimentError: none could be meant, or what is there looks like no text.
    """
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
    """The columns of a data set and the two that are added.

    Raises:
        SentimentError: it has one of the two already.
    """
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


@dataclass
class _Part:
    """The shards of one part in a folder, and the record of what they were made from."""

    folder: Path
    name: str
    identity: dict[str, Any]
    shards: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.record = self.folder / RECORDS.replace("*", self.name)

    def resume(self) -> None:
        """Finds the shards that an earlier run of the same command has written.

        Raises:
            SentimentError: the folder holds another annotation, or something foreign.
        """
        records = sorted(self.folder.glob(RECORDS))
        for path in records:
            found = read_json(path).get("identity", {})
            for name, value in self.identity.items():
                if found.get(name) != value:
                    raise SentimentError(
                        f"The folder {self.folder} holds another annotation: its `{name}` is"
                        f" {found.get(name)!r:.80}, not {value!r:.80}; name another folder."
                    )
        for path in [*self.folder.glob("data/*"), *([] if records else self.folder.glob("*"))]:
            if not re.fullmatch(OWN_FILES, path.relative_to(self.folder).as_posix()):
                raise SentimentError(
                    f"The folder {self.folder} holds something else ({path.name!r}); name another."
                )
        remove_leftovers(self.record)
        if self.record in records:
            self.shards = read_json(self.record)["shards"]
            logger.info("Resuming: %d shards are there already.", len(self.shards))
        made_folder(self.folder / "data")
        self._write_record()

    def has(self, shard: str, rows: pa.Table) -> bool:
        """Whether a shard is there as it was written.

        Raises:
            SentimentError: it was written from other rows.
        """
        if shard not in self.shards:
            return False
        path = self.folder / shard
        if _sha256(path) != self.shards[shard]["sha256"]:
            logger.warning("%s is not what was written; it is made again.", shard)
            return False
        written = pq.read_table(path).drop_columns([LABEL_COLUMN, SCORE_COLUMN]).cast(rows.schema)
        # To Arrow no NaN is like another, their texts are.
        if written.equals(rows) or str(written.to_pydict()) == str(rows.to_pydict()):
            return True
        raise SentimentError(
            f"The rows of {shard} in {self.folder} are no longer those of the data set; name"
            " another folder."
        )

    def write(self, shard: str, labelled: pa.Table) -> None:
        path = self.folder / shard
        remove_leftovers(path)
        with replaced_file(path) as new:
            Dataset(labelled).to_parquet(new)
        nulls = labelled.column(SCORE_COLUMN).null_count
        self.shards[shard] = {"rows": labelled.num_rows, "nulls": nulls, "sha256": _sha256(path)}
        self._write_record()

    def _write_record(self) -> None:
        write_json(self.record, {"identity": self.identity, "shards": self.shards})


def _sha256(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


def count_written(folder: Path) -> dict[str, int]:
    """Rows, rows without a text, and shards of all parts in a folder."""
    shards = [s for path in folder.glob(RECORDS) for s in read_json(path)["shards"].values()]
    sums = {name: sum(shard[name] for shard in shards) for name in ("rows", "nulls")}
    return {**sums, "shards": len(shards)}


def push_annotation(folder: Path, repo_id: str) -> str:
    """Shares a labelled data set, all its parts in one commit, with a card. Returns its address.

    Raises:
        SentimentError: a part is missing or damaged, or the Hub refuses or is out of reach.
    """
    import huggingface_hub as hub

    records = [read_json(path) for path in sorted(folder.glob(RECORDS))]
    identity, counts = records[0]["identity"], count_written(folder)
    shards = {name: shard for record in records for name, shard in record["shards"].items()}
    parts, total = identity["num_shards"], sum(identity["rows"].values())
    if (len(records), counts["rows"]) != (parts, total):
        raise SentimentError(
            f"{len(records)} of {parts} parts and {counts['rows']} of {total} rows are in {folder};"
            " run the commands of the others."
        )
    for name, shard in shards.items():
        if _sha256(folder / name) != shard["sha256"]:
            raise SentimentError(f"{name} is not what was written; run the command of its part.")
    files = [
        {"split": name, "path": f"data/{name}-*.parquet"}
        for name, count in identity["rows"].items()
        if count
    ]
    metadata = hub.DatasetCardData(
        tags=["sentiment-hf", "machine-generated"],
        source_datasets=[source] if (source := hub_id(identity["dataset"])) else None,
        configs=[{"config_name": "default", "data_files": files}],
    )
    api = hub.HfApi(token=usable_token(None), **LIBRARY)
    with hub_errors(f"the data set {repo_id!r}", without_hub="the folder is whole"):
        url = api.create_repo(repo_id, repo_type="dataset", exist_ok=True)
        info = api.dataset_info(url.repo_id, timeout=HUB_TIMEOUT_SECONDS)
        shown = {**identity, **counts, "name": url.repo_id.rpartition("/")[2], "code": as_code}
        card = hub.DatasetCard.from_template(metadata, template_path=str(CARD_TEMPLATE), **shown)
        stale = {file.rfilename for file in info.siblings or []} - set(shards)
        changes: list[Any] = [
            hub.CommitOperationAdd("README.md", f"{card}\n".encode()),
            *(hub.CommitOperationAdd(name, folder / name) for name in shards),
            *(hub.CommitOperationDelete(name) for name in stale if name.startswith("data/")),
        ]
        said = printable(f"Labelled by {identity['model']}")
        api.create_commit(
            url.repo_id, changes, commit_message=said, repo_type="dataset", parent_commit=info.sha
        )
    return str(url)
