# /// script
# requires-python = ">=3.11"
# dependencies = ["sentiment-hf[ray]"]
# ///
"""Labels a data set on a cluster with Ray Data: copy it, change what you need.

    python scripts/annotate_with_ray.py user/reviews labelled --actors 8
    python scripts/annotate_with_ray.py s3://bucket/reviews/ s3://bucket/labelled/ --actors 64

The rows keep their order, also when an actor dies: Ray starts it again and gives away its rows.
A run that is cut off as a whole starts anew; `sentiment-hf annotate` resumes. Without RAY_ADDRESS,
which names a cluster, it runs on this machine.
"""

import argparse
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
import pyarrow.fs
import pyarrow.parquet as pq
import ray
from datasets import Features
from ray.data import ActorPoolStrategy, DataContext
from ray.data.block import BlockAccessor
from ray.data.datasource import BlockBasedFileDatasink

from sentiment_hf import SentimentPipeline
from sentiment_hf.annotation import labelled_features, labelled_table
from sentiment_hf.data.columns import find_text_column
from sentiment_hf.data.loading import open_splits
from sentiment_hf.errors import SentimentError, run_script
from sentiment_hf.pipeline import SCORE_COLUMN

ROWS_PER_BATCH = 4_096
ROWS_PER_FILE = 20_000


class Annotator:
    """One actor: it loads the checkpoint once and answers batch after batch."""

    def __init__(self, model: str | None, text_column: str, features: Features) -> None:
        self.pipe = SentimentPipeline.from_pretrained(model)
        self.text_column = text_column
        # With what the features are called, so that `load_dataset` knows the labels' names.
        self.schema = features.arrow_schema

    def __call__(self, rows: pa.Table) -> pa.Table:
        rows = labelled_table(self.pipe, rows, self.text_column)
        return rows.select(self.schema.names).cast(self.schema)


class ParquetInOrder(BlockBasedFileDatasink):
    """Ray's `write_parquet` hands rows to several threads, which may swap some of them."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder, file_format="parquet", min_rows_per_file=ROWS_PER_FILE)

    def write_block_to_file(self, block: BlockAccessor, file: pa.NativeFile) -> None:
        pq.write_table(block.to_arrow(), file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", help="parquet under s3://, gs:// or hf://, or any DATASET")
    parser.add_argument("output", help="a folder, here or under s3:// and the like")
    parser.add_argument("--split", default="train")
    parser.add_argument("--model", help="a checkpoint folder or a Hub id")
    parser.add_argument("--text-column")
    parser.add_argument("--actors", type=int, default=2)
    parser.add_argument("--gpus-per-actor", type=float, default=0)
    arguments = parser.parse_args()
    output = arguments.output if "://" in arguments.output else os.path.abspath(arguments.output)
    system, path = pa.fs.FileSystem.from_uri(output)
    if system.get_file_info(path).type != pa.fs.FileType.NotFound:
        raise SentimentError(f"{arguments.output} is there already; name another folder.")

    # Loaded here once: a mistake in the name is noticed before the actors start.
    pipe = SentimentPipeline.from_pretrained(arguments.model)
    if "RAY_ADDRESS" not in os.environ:
        # Reading and writing are tasks that need a processor beside those of the actors.
        processors = max(os.cpu_count() or 1, arguments.actors + 1)
        ray.init(address="local", num_cpus=processors, include_dashboard=False)
    # Before the rows are read: they take this setting along.
    DataContext.get_current().execution_options.preserve_order = True
    rows, features = read(arguments.dataset, arguments.split)
    column = find_text_column(features, arguments.text_column)
    features = labelled_features(pipe, features)
    model = arguments.model
    if model is not None and Path(model).is_dir():
        model = str(Path(model).resolve())  # Actors work in another folder.

    labelled = rows.map_batches(
        Annotator,
        fn_constructor_args=(model, column, features),
        batch_size=ROWS_PER_BATCH,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(size=arguments.actors),
        num_gpus=arguments.gpus_per_actor,
    )
    labelled.write_datasink(ParquetInOrder(arguments.output))
    written = pa.dataset.dataset(path, filesystem=system)
    nulls = written.count_rows(filter=pc.field(SCORE_COLUMN).is_null())
    print(f"{written.count_rows()} rows, {nulls} of them without a text")


def read(dataset: str, split: str) -> tuple[ray.data.Dataset, Features]:
    """The rows, and what their columns are."""
    if "://" in dataset:
        rows: Any = ray.data.read_parquet(dataset)
        return rows, Features.from_arrow_schema(rows.schema().base_schema)
    opened = open_splits(dataset, [split])[split]
    table = opened.with_format("arrow")  # Slices of it are views of the file on the disk.
    starts = range(0, len(opened), ROWS_PER_BATCH)
    pieces = [table[start : start + ROWS_PER_BATCH] for start in starts]
    return ray.data.from_arrow(pieces), opened.features


if __name__ == "__main__":
    raise SystemExit(run_script(main))
