# /// script
# requires-python = ">=3.11"
# dependencies = ["sentiment-hf", "datasets", "huggingface-hub"]
# ///
"""Labels a data set with `datasets.map`: copy it, change what you need.

    python scripts/annotate_dataset.py my.csv labelled --text-column review
    python scripts/annotate_dataset.py user/reviews labelled --model user/imdb-lstm --num-proc 4

A second run finds the answers in the cache. `sentiment-hf annotate` is the same without code:
with parquet shards that go on after a crash, and parts for many machines.
"""

import argparse
import sys

from huggingface_hub import DatasetCard

from sentiment_hf import SentimentPipeline
from sentiment_hf.annotation import labelled_features
from sentiment_hf.checkpoint.download import model_name
from sentiment_hf.data.columns import find_text_column
from sentiment_hf.data.loading import dataset_name, open_dataset
from sentiment_hf.errors import run_script


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", help="sample, a folder, a file or a Hub id")
    parser.add_argument("output", help="folder for `datasets.load_from_disk`")
    parser.add_argument("--model", help="a checkpoint folder or a Hub id")
    parser.add_argument("--text-column")
    parser.add_argument("--num-proc", type=int, help="processes that label side by side")
    parser.add_argument("--push-to", help="user/name: share the labelled data set on the Hub")
    arguments = parser.parse_args()

    pipe = SentimentPipeline.from_pretrained(arguments.model)
    splits = open_dataset(arguments.dataset)
    first = next(iter(splits.values()))
    column = find_text_column(first.features, arguments.text_column)

    labelled = splits.map(
        pipe.annotate,
        batched=True,
        fn_kwargs={"text_column": column},
        features=labelled_features(pipe, first.features),
        num_proc=arguments.num_proc,
    )

    labelled.save_to_disk(arguments.output)
    for name, split in labelled.items():
        print(f"{name}: {len(split)} rows")
    if arguments.push_to:
        print(labelled.push_to_hub(arguments.push_to))
        card = DatasetCard.load(arguments.push_to)
        card.text = (
            f"\nThe texts of `{dataset_name(arguments.dataset)}`, labelled by"
            f" `{model_name(arguments.model or 'reference')}` (sha256 of its content:"
            f" `{pipe.checksum()}`).\n"
        )
        card.push_to_hub(arguments.push_to, repo_type="dataset")


if __name__ == "__main__":
    sys.exit(run_script(main))
