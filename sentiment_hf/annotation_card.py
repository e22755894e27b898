"""A labelled data set becomes a repository of the Hub, with a card that names model and source."""

from pathlib import Path

from sentiment_hf.annotation import count_written, damaged_shards, records_of
from sentiment_hf.errors import SentimentError
from sentiment_hf.hub import LIBRARY, usable_token
from sentiment_hf.hub_errors import HUB_TIMEOUT_SECONDS, hub_sentences
from sentiment_hf.version import __version__

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
    with hub_sentences(f"the data set {repo_id!r}", without_hub="the folder is whole"):
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
