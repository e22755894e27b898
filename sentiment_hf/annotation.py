"""`annotate`: the model's answers beside every row of a data set, as parquet shards.

Each shard is written whole or not at all, and its rows and checksum are noted in a record. The
same command goes on after the last whole shard, and what comes out is the same byte for byte.
"""

import hashlib
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import ClassLabel, Dataset, Features, IterableDataset, Value
from tqdm.auto import tqdm

from sentiment_hf.arguments import check_whole
from sentiment_hf.checkpoint.download import (
    LIBRARY,
    find_checkpoint,
    model_name,
    revision_of,
    usable_token,
)
from sentiment_hf.checkpoint.files import made_folder, read_json, write_json
from sentiment_hf.data.columns import find_text_column
from sentiment_hf.data.loading import dataset_errors, dataset_name, open_splits
from sentiment_hf.errors import HUB_TIMEOUT_SECONDS, SentimentError, hub_errors
from sentiment_hf.model.device import keep_few_shapes
from sentiment_hf.pipeline import LABEL_COLUMN, SCORE_COLUMN, SentimentPipeline
from sentiment_hf.version import __version__

ROWS_PER_SHARD = 20_000
# Texts that are sorted by length and answered together.
ROWS_AT_ONCE = 4_096

logger = logging.getLogger(__name__)

CARD = """---
{metadata}
---

# {name}

The texts of {dataset}, labelled by {model}: {rows:,} rows, {nulls:,} of them without a text.

| column | what |
|---|---|
| `predicted_label` | the label that the model gives the column `{column}`: {labels} |
| `predicted_score` | the probability of that label, from 0 to 1 |

All other columns are as they were. Made by `sentiment-hf annotate` {version}; the content of the
model has the sha256 `{checksum}`.
"""


@dataclass(frozen=True)
class Part:
    """One of several equal parts of a data set, counted from 0."""

    index: int
    count: int

    def rows(self, total: int) -> range:
        """The rows of this part: together the parts hold every row once, in order."""
        return range(self.index * total // self.count, (self.index + 1) * total // self.count)

    def record(self) -> str:
        """The name of the file with what is done."""
        return f"annotation-{self.index:05d}-of-{self.count:05d}.json"

    def shard(self, split: str, number: int) -> str:
        return f"data/{split}-{self.index:05d}-of-{self.count:05d}-{number:05d}.parquet"


def annotate(
    dataset: str | Path,
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
    batch_size: int | None = None,
    show_progress: bool = True,
    config: str | None = None,
    revision: str | None = None,
    text_column: str | None = None,
) -> Path:
    """Writes a data set with `predicted_label` and `predicted_score` into a folder.

    All columns stay as they are; a null text gets null. `load_dataset(output)` reads it.

    Args:
        dataset, config, revision, text_column: as in `load_reviews`.
        split: one split; all by default.
        streaming: read the data set piece by piece instead of preparing it on the disk first.
        num_shards, shard_index: label one of so many parts, the first being 0, for an array of
            jobs; all of them may write into one folder.
        rows_per_shard: rows of a parquet file.

    Returns:
        The folder.

    Raises:
        SentimentError: no such data set, column or rows, or the folder holds something else.
    """
    check_whole("num_shards", num_shards)
    check_whole("shard_index", shard_index, least=0, most=num_shards - 1)
    check_whole("rows_per_shard", rows_per_shard)
    folder, part = Path(output), Part(shard_index, num_shards)
    opened = open_splits(
        dataset,
        None if split is None else [split],
        streaming=streaming,
        config=config,
        revision=revision,
    )
    features = {name: _features(dataset, rows) for name, rows in opened.items()}
    column = _text_column(features, text_column)
    totals = {name: _count(dataset, name, rows) for name, rows in opened.items()}
    if not sum(totals.values()):
        raise SentimentError(f"The data set {dataset} has no rows.")
    checkpoint = find_checkpoint(model)
    keep_few_shapes()
    pipe = SentimentPipeline.from_pretrained(checkpoint, device=device, dtype=dtype)
    written = {name: labelled_features(pipe, kinds) for name, kinds in features.items()}
    work = _Work(
        pipe, folder, part, column, batch_size, {
            "dataset": dataset_name(dataset),
            "config": config,
            "revision": revision,
            "rows": totals,
            "columns": {
                name: {column: str(kind) for column, kind in kinds.items()}
                for name, kinds in features.items()
            },
            "text_column": column,
            "model": "reference" if model is None else model_name(model),
            "model_revision": revision_of(checkpoint),
            "labels": pipe.label_names,
            "dtype": dtype or "float32",
            "model_checksum": pipe.checksum(),
            "rows_per_shard": rows_per_shard,
            "sentiment_hf": __version__,
        },
    )  # fmt: skip
    work.begin()
    for name, rows in opened.items():
        own = part.rows(totals[name])
        progress = tqdm(
            total=len(own), desc=f"Annotating {name}", unit="row", dynamic_ncols=True,
            disable=None if show_progress else True,
        )  # fmt: skip
        with progress:
            if isinstance(rows, Dataset):
                tables = _slices(rows, own, rows_per_shard)
            else:
                stream = rows.cast(features[name])
                tables = _pieces(dataset, stream, own, rows_per_shard, own.stop == totals[name])
            for number, table in enumerate(tables):
                if not work.is_done(name, number, table):
                    work.write(name, number, table, written[name])
                progress.update(table.num_rows)
    if work.nulls:
        logger.warning("%d rows have no text: null for null.", work.nulls)
    return folder


def count_written(folder: Path) -> dict[str, int]:
    """Rows, rows without a text, and shards of all parts in a folder."""
    shards = [shard for record in records_of(folder) for shard in record["shards"].values()]
    return {
        "rows": sum(shard["rows"] for shard in shards),
        "nulls": sum(shard["nulls"] for shard in shards),
        "shards": len(shards),
    }


def records_of(folder: Path) -> list[dict[str, Any]]:
    return [read_json(path) for path in sorted(folder.glob("annotation-*.json"))]


def damaged_shards(folder: Path) -> list[str]:
    """The names of those shards that were written and are no longer there as they were."""
    return [
        name
        for record in records_of(folder)
        for name, shard in record["shards"].items()
        if not _is_whole(folder / name, shard)
    ]


def labelled_features(pipe: SentimentPipeline, features: Features) -> Features:
    """The columns of a data set and the two that are added.

    Raises:
        SentimentError: it has one of the two already.
    """
    for name in (LABEL_COLUMN, SCORE_COLUMN):
        if name in features:
            raise SentimentError(f"The data set has a column {name!r} already; rename it first.")
    return Features({
        **features,
        LABEL_COLUMN: ClassLabel(names=pipe.label_names),
        SCORE_COLUMN: Value("float32"),
    })  # fmt: skip


def labelled_table(
    pipe: SentimentPipeline, table: pa.Table, column: str, batch_size: int | None = None
) -> pa.Table:
    """The rows with class id and score of the texts in `column`."""
    ids, scores = pipe.best(table.column(column).to_pylist(), batch_size=batch_size)
    table = table.append_column(LABEL_COLUMN, pa.array(ids, pa.int64()))
    return table.append_column(SCORE_COLUMN, pa.array(scores, pa.float32()))


class _Work:
    """One part of a data set under way: what is to be done, and which shards are there."""

    def __init__(
        self,
        pipe: SentimentPipeline,
        folder: Path,
        part: Part,
        column: str,
        batch_size: int | None,
        identity: dict[str, Any],
    ) -> None:
        self.pipe = pipe
        self.folder = folder
        self.part = part
        self.column = column
        self.batch_size = batch_size
        self.identity = identity
        self.shards: dict[str, dict[str, Any]] = {}

    @property
    def nulls(self) -> int:
        return sum(shard["nulls"] for shard in self.shards.values())

    def begin(self) -> None:
        """Takes up what an earlier run of the same work has done.

        Raises:
            SentimentError: the folder holds another work, or something foreign.
        """
        path = self.folder / self.part.record()
        others = [p for p in sorted(self.folder.glob("annotation-*.json")) if p != path]
        for record in [*([path] if path.exists() else []), *others]:
            self._compare(record)
        if path.exists():
            self.shards = read_json(path)["shards"]
            logger.info("Going on: %d shards are there already.", len(self.shards))
        else:
            self._refuse_foreign(self.folder, r"data|annotation-.*")
        self._refuse_foreign(self.folder / "data", r".+-\d{5}-of-\d{5}-\d{5}\.parquet(\.new)?")
        made_folder(self.folder / "data")
        self._note()

    def _refuse_foreign(self, folder: Path, ours: str) -> None:
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            if not re.fullmatch(ours, path.name):
                raise SentimentError(
                    f"The folder {folder} holds something else ({path.name!r}); name another."
                )

    def _compare(self, record: Path) -> None:
        there = read_json(record).get("identity", {})
        for name, value in self.identity.items():
            if there.get(name) != value:
                raise SentimentError(
                    f"The folder {self.folder} holds another annotation: its {name} is"
                    f" {there.get(name)!r:.80}, not {value!r:.80}; name another folder."
                )
        if record.name.partition("-of-")[2] != self.part.record().partition("-of-")[2]:
            raise SentimentError(
                f"The folder {self.folder} holds an annotation in another number of parts"
                f" ({record.name}); name another folder."
            )

    def is_done(self, split: str, number: int, table: pa.Table) -> bool:
        """Whether a shard is there and still what was written.

        Raises:
            SentimentError: it was written from other rows.
        """
        name = self.part.shard(split, number)
        if name not in self.shards:
            return False
        if self.shards[name]["rows_sha256"] != _rows_sha256(table):
            raise SentimentError(
                f"The rows of {name} in {self.folder} are no longer those of the data set; name"
                " another folder."
            )
        if _is_whole(self.folder / name, self.shards[name]):
            return True
        logger.warning("%s is not what was written; it is made again.", name)
        return False

    def write(self, split: str, number: int, table: pa.Table, features: Features) -> None:
        slices = range(0, table.num_rows, ROWS_AT_ONCE)
        labelled = pa.concat_tables(
            labelled_table(
                self.pipe, table.slice(start, ROWS_AT_ONCE), self.column, self.batch_size
            )
            for start in slices
        )
        name = self.part.shard(split, number)
        path = self.folder / name
        temporary = path.with_name(path.name + ".new")
        try:
            Dataset(labelled.cast(features.arrow_schema)).to_parquet(temporary)
            checksum = _sha256(temporary)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        self.shards[name] = {
            "rows": table.num_rows,
            "nulls": labelled.column(SCORE_COLUMN).null_count,
            "rows_sha256": _rows_sha256(table),
            "sha256": checksum,
        }
        self._note()

    def _note(self) -> None:
        write_json(
            self.folder / self.part.record(), {"identity": self.identity, "shards": self.shards}
        )


def _features(dataset: str | Path, rows: Dataset | IterableDataset) -> Features:
    if rows.features is not None:
        return rows.features
    # A stream of files that do not say what they hold: a few rows show it.
    with dataset_errors(dataset):
        features = rows._resolve_features().features
    # A column of which these rows are null may hold texts further on.
    null, text = Value("null"), Value("string")
    return Features({name: text if kind == null else kind for name, kind in features.items()})


def _text_column(features: dict[str, Features], named: str | None) -> str:
    """The column of texts, the same in every split."""
    # A column that was named holds the texts, even if it is called as labels are.
    options = {} if named is None else {"labels": ()}
    column = find_text_column(next(iter(features.values())), named, **options)
    for kinds in features.values():
        find_text_column(kinds, column, ())
    return column


def _count(dataset: str | Path, name: str, rows: Dataset | IterableDataset) -> int:
    if isinstance(rows, Dataset):
        return len(rows)
    splits = rows.info.splits or {}
    if name in splits and splits[name].num_examples:
        return int(splits[name].num_examples)
    with dataset_errors(dataset):
        return sum(table.num_rows for table in rows.with_format("arrow").iter(ROWS_AT_ONCE))


def _slices(rows: Dataset, own: range, size: int) -> Iterator[pa.Table]:
    """The rows of a part as Arrow tables of `size` rows, the last one shorter."""
    arrow = rows.with_format("arrow")
    for start in range(own.start, own.stop, size):
        yield arrow[start : min(start + size, own.stop)]


def _pieces(
    dataset: str | Path, rows: IterableDataset, own: range, size: int, last: bool
) -> Iterator[pa.Table]:
    """The same of a stream; the last part looks whether more rows come than the card says."""
    stream = rows.skip(own.start)
    stream = (stream if last else stream.take(len(own))).with_format("arrow")
    held: list[pa.Table] = []
    count = seen = 0
    with dataset_errors(dataset):
        for read in stream.iter(ROWS_AT_ONCE):
            seen += read.num_rows
            if seen > len(own):
                break
            rest = read
            while count + rest.num_rows >= size:
                yield pa.concat_tables([*held, rest.slice(0, size - count)])
                rest, held, count = rest.slice(size - count), [], 0
            held.append(rest)
            count += rest.num_rows
    if seen != len(own):
        raise SentimentError(
            f"The data set {dataset} has {'more' if seen > len(own) else 'fewer'} rows than its"
            " card says (num_examples); correct the card or take it away."
        )
    if count:
        yield pa.concat_tables(held)


def _rows_sha256(table: pa.Table) -> str:
    """Of the values of all columns, however the table is cut into chunks."""
    digest = hashlib.sha256()
    for start in range(0, table.num_rows, ROWS_AT_ONCE):
        values = table.slice(start, ROWS_AT_ONCE).to_pydict()
        digest.update(repr(values).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _is_whole(path: Path, shard: dict[str, Any]) -> bool:
    return path.exists() and _sha256(path) == shard["sha256"]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def push_annotation(folder: Path, repo_id: str, token: str | None = None) -> str:
    """Shares a labelled data set, all its parts in one commit, with a card.

    Returns:
        The address of the repository.

    Raises:
        SentimentError: a part is missing, or the Hub refuses or is out of reach.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, DatasetCardData, HfApi

    records = records_of(folder)
    parts = {name.partition("-of-")[2][:5] for record in records for name in record["shards"]}
    wanted = int(next(iter(parts), "1"))
    if len(records) != wanted:
        raise SentimentError(f"{len(records)} of {wanted} parts are in {folder}; label the others.")
    identity, counts = records[0]["identity"], count_written(folder)
    if counts["rows"] != sum(identity["rows"].values()):
        raise SentimentError(
            f"{counts['rows']} of {sum(identity['rows'].values())} rows are labelled; run the same"
            " command again."
        )
    if damaged := damaged_shards(folder):
        raise SentimentError(
            f"{damaged[0]} is not what was written; run the command of its part again."
        )
    configs = [
        {"split": name, "path": f"data/{name}-*.parquet"}
        for name, count in identity["rows"].items()
        if count
    ]
    metadata = DatasetCardData(
        tags=["sentiment-hf", "machine-generated"],
        source_datasets=[identity["dataset"]],
        configs=[{"config_name": "default", "data_files": configs}],
    )
    api = HfApi(token=usable_token(token), **LIBRARY)
    with hub_errors(f"the data set {repo_id!r}", without_hub="the folder is whole"):
        url = api.create_repo(repo_id, repo_type="dataset", exist_ok=True)
        info = api.dataset_info(url.repo_id, timeout=HUB_TIMEOUT_SECONDS)
        card = CARD.format(
            metadata=metadata.to_yaml(),
            name=url.repo_id.split("/")[-1],
            dataset=_at(identity["dataset"], identity["revision"]),
            model=_at(identity["model"], identity["model_revision"]),
            rows=counts["rows"],
            nulls=counts["nulls"],
            column=identity["text_column"],
            labels=", ".join(f"`{label}`" for label in identity["labels"]),
            version=__version__,
            checksum=identity["model_checksum"],
        )
        names = {name: folder / name for record in records for name in record["shards"]}
        stale = [
            s.rfilename for s in info.siblings or []
            if s.rfilename.startswith("data/") and s.rfilename not in names
        ]  # fmt: skip
        api.create_commit(
            url.repo_id,
            [
                *(CommitOperationAdd(name, path) for name, path in names.items()),
                CommitOperationAdd("README.md", card.encode()),
                *(CommitOperationDelete(name) for name in stale),
            ],
            commit_message=f"Labelled by {identity['model']}",
            repo_type="dataset",
            parent_commit=info.sha,
        )
    return str(url)


def _at(name: str, revision: str | None) -> str:
    return f"`{name}`, revision `{revision}`" if revision else f"`{name}`"
