# /// script
# requires-python = ">=3.11"
# dependencies = ["sentiment-hf", "datasets"]
# ///
"""Labels a data set with `datasets.map`: copy it, change what you need.

    python scripts/annotate_dataset.py user/reviews labelled --model user/imdb-lstm --num-proc 4

A second run finds the answers in the cache. `sentiment-hf annotate` is the same without code: it
reads single files, too, resumes after a crash, and has parts for many machines.
"""

import argparse

from datasets import ClassLabel, load_dataset

from sentiment_hf import SentimentPipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", help="a Hub id, or a folder of csv, json or parquet files")
    parser.add_argument("output", help="folder for `datasets.load_from_disk`")
    parser.add_argument("--model", help="a checkpoint folder or a Hub id")
    parser.add_argument("--text-column", default="text")
    parser.add_argument("--num-proc", type=int, help="processes that label side by side")
    parser.add_argument("--push-to", help="user/name: share the labelled data set on the Hub")
    arguments = parser.parse_args()

    pipe = SentimentPipeline.from_pretrained(arguments.model)
    labelled = load_dataset(arguments.dataset).map(
        pipe.annotate,
        batched=True,
        num_proc=arguments.num_proc,
        fn_kwargs={"text_column": arguments.text_column},
    )
    labelled = labelled.cast_column("predicted_label", ClassLabel(names=pipe.label_names))
    labelled.save_to_disk(arguments.output)
    print(labelled)
    if arguments.push_to:
        print(labelled.push_to_hub(arguments.push_to))


if __name__ == "__main__":
    main()
