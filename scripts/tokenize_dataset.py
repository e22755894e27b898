# /// script
# requires-python = ">=3.11"
# dependencies = ["sentiment-hf", "datasets"]
# ///
"""Turns the texts of a data set into word numbers, once, for many trainings.

    python scripts/tokenize_dataset.py stanfordnlp/imdb tokenized --model user/imdb-lstm
    sentiment-hf train tokenized --output my-model --init-from user/imdb-lstm

Adds `input_ids` and `length` to the columns that are there. `train` and `evaluate` take these
numbers where their words are those of the model at hand, and read the texts where they are not.
"""

import argparse
from pathlib import Path

from sentiment_hf import SentimentPipeline
from sentiment_hf.data.columns import find_text_column
from sentiment_hf.data.loading import open_dataset
from sentiment_hf.data.tokenization import encode_texts
from sentiment_hf.errors import SentimentError, run_script


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", help="sample, a folder, a file or a Hub id")
    parser.add_argument("output", type=Path, help="a folder of parquet files")
    parser.add_argument("--model", help="whose words: a checkpoint folder or a Hub id")
    parser.add_argument("--text-column")
    parser.add_argument("--num-proc", type=int, help="processes that tokenize side by side")
    parser.add_argument("--push-to", help="user/name: share the tokenized data set on the Hub")
    arguments = parser.parse_args()

    if arguments.output.exists():
        raise SentimentError(f"{arguments.output} is there already; name another folder.")
    tokenizer = SentimentPipeline.from_pretrained(arguments.model).tokenizer
    splits = open_dataset(arguments.dataset)
    first = next(iter(splits.values()))
    column = find_text_column(first.features, arguments.text_column)
    for name in ("input_ids", "length"):
        if name in first.features:
            raise SentimentError(f"The data set has a column {name!r} already; rename it first.")

    def tokenize(batch: dict[str, list]) -> dict[str, list]:
        texts = [text or "" for text in batch[column]]
        input_ids = encode_texts(tokenizer, texts)
        return {"input_ids": input_ids, "length": [len(ids) for ids in input_ids]}

    tokenized = splits.map(tokenize, batched=True, num_proc=arguments.num_proc)

    (arguments.output / "data").mkdir(parents=True)
    for name, split in tokenized.items():
        split.to_parquet(arguments.output / "data" / f"{name}-00000.parquet")
        print(f"{name}: {len(split)} rows, {sum(split['length'])} words")
    if arguments.push_to:
        print(tokenized.push_to_hub(arguments.push_to))


if __name__ == "__main__":
    raise SystemExit(run_script(main))
