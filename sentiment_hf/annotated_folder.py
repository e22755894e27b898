"""The folder of an annotation: its shards, their record, and how it becomes a data set of the Hub.

Each shard is written whole or not at all, and its checksum is noted in a record. The same command
resumes after the last whole shard, and what comes out is the same byte for byte.
"""

import hashlib
import logging
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset

from sentiment_hf.checkpoint.card import as_code, hub_id
from sentiment_hf.checkpoint.download import LIBRARY, usable_token
from sentiment_hf.checkpoint.files import (
    ensure_folder,
    read_json,
    remove_leftovers,
    replaced_file,
    write_json,
)
from sentiment_hf.errors import HUB_TIMEOUT_SECONDS, SentimentError, hub_errors, printable
from sentiment_hf.pipeline import LABEL_COLUMN, SCORE_COLUMN

RECORDS = "annotation-*.json"
# What stands in the folder of an annotation.
OWN_FILES = r"annotation-.*|data|data/.+-\d{5}-of-\d{5}-\d{5}\.parquet(\.[0-9a-f]{16}\.tmp)?"
CARD_TEMPLATE = Path(__file__).parent / "dataset_card_template.md"

logger = logging.getLogger(__name__)


@dataclass
class AnnotatedPart:
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
        records = self._checked_records()
        for path in [*self.folder.glob("data/*"), *([] if records else self.folder.glob("*"))]:
            if not re.fullmatch(OWN_FILES, path.relative_to(self.folder).as_posix()):
                raise SentimentError(
                    f"The folder {self.folder} holds something else ({path.name!r}); name another."
                )
        remove_leftovers(self.record)
        if self.record in records:
            self.shards = read_json(self.record)["shards"]
            logger.info("Resuming: shards that are written already: %d.", len(self.shards))
        ensure_folder(self.folder / "data")
        self._write_record()
        try:
            self._checked_records()  # Another part may have begun in the same moment.
        except SentimentError:
            if not self.shards:
                self.record.unlink()
            raise

    def _checked_records(self) -> list[Path]:
        """The records of all parts in the folder, which are of this same annotation."""
        records = sorted(self.folder.glob(RECORDS))
        for path in records:
            found = read_json(path).get("identity", {})
            for name, value in self.identity.items():
                if found.get(name) != value:
                    raise SentimentError(
                        f"The folder {self.folder} holds another annotation: its `{name}` is"
                        f" {found.get(name)!r:.80}, not {value!r:.80}; name another folder."
                    )
        return records

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
    if any(record["identity"] != identity for record in records):
        raise SentimentError(f"The parts in {folder} are those of different annotations.")
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
        message, head = printable(f"Labelled by {identity['model']}"), info.sha
        api.create_commit(
            url.repo_id, changes, commit_message=message, repo_type="dataset", parent_commit=head
        )
    return str(url)


def _sha256(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None
