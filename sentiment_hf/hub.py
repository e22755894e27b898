"""The Hub: a MODEL becomes a folder, a checkpoint folder becomes a repository.

One load reads one commit, and every file is compared with the checksum that the Hub gave for
it. One push is one commit on a known parent.
"""

import hashlib
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from sentiment_hf.arguments import check_keywords
from sentiment_hf.card import is_as_rendered, render_card
from sentiment_hf.checkpoint import (
    CARD_FILE,
    FIGURES_FOLDER,
    REFERENCE_FOLDER,
    REFERENCE_NAME,
    REQUIRED_FILES,
    TOKENIZER_FILE,
    is_checkpoint,
    published,
    read_config,
    read_network,
    read_tokenizer,
)
from sentiment_hf.errors import SentimentError
from sentiment_hf.files import write_text
from sentiment_hf.hub_errors import HUB_TIMEOUT_SECONDS, hub_sentences
from sentiment_hf.network import LSTMClassifier
from sentiment_hf.version import __version__

if TYPE_CHECKING:
    from huggingface_hub import HfApi

LARGEST_FILE_BYTES = 2_000_000_000
OFFLINE_MODELS = "a checkpoint folder or the built-in 'reference' works without it"

logger = logging.getLogger(__name__)


class HubOptions(TypedDict, total=False):
    """How a repository of the Hub is read, under the names that Hub users know."""

    revision: str | None
    token: str | bool | None
    cache_dir: str | Path | None
    local_files_only: bool
    force_download: bool


def find_checkpoint(
    model: str | Path | None = None,
    files: tuple[str, ...] = REQUIRED_FILES,
    **options: Unpack[HubOptions],
) -> Path:
    """The folder of a MODEL: a local folder, the reference checkpoint, or a Hub repository.

    A local folder wins over a Hub id of the same name.

    Args:
        model: a folder, `reference` (the default), or `user/name`, also `user/name@revision`.
        files: what is fetched of a repository.
        options: `revision`, `token`, `cache_dir`, `local_files_only` and `force_download`, as
            everywhere on the Hub.

    Raises:
        SentimentError: there is no such checkpoint, or the Hub is out of reach.
    """
    if model is None or (model == REFERENCE_NAME and not Path(model).is_dir()):
        return REFERENCE_FOLDER
    check_keywords("from_pretrained", options, HubOptions)
    if not str(model).strip():
        raise SentimentError("A model has a name: a folder, 'reference' or user/name on the Hub.")
    folder = Path(model)
    if is_checkpoint(folder):
        return folder
    name, _, revision = str(model).partition("@")
    if os.path.isdir(folder):
        raise SentimentError(f"The folder {model} holds no checkpoint: it has no config.json.")
    if folder.is_absolute() or name.count("/") != 1 or name.startswith((".", "~", "/")):
        raise SentimentError(f"The model {str(model)!r} does not exist: there is no such folder.")
    if revision:
        options["revision"] = revision
    return _download(name, files, options)


def model_name(model: str | Path) -> str:
    """How a MODEL is called in what is written: its Hub id, or its base name."""
    path = Path(model)
    return path.resolve().name if path.exists() else str(model)


def _download(repo_id: str, files: tuple[str, ...], options: HubOptions) -> Path:
    """Fetches files of one commit and checks each against its checksum."""
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download
    from huggingface_hub.constants import HF_HUB_OFFLINE

    shared: dict[str, Any] = {
        "token": options.get("token"),
        "cache_dir": options.get("cache_dir"),
        "library_name": "sentiment-hf",
        "library_version": __version__,
    }
    revision = options.get("revision")
    at = f" at {revision!r}" if revision else ""
    with hub_sentences(f"the model {repo_id!r}{at}", without_hub=OFFLINE_MODELS):
        if options.get("local_files_only") or HF_HUB_OFFLINE:
            cached = Path(
                snapshot_download(
                    repo_id,
                    revision=revision,
                    local_files_only=True,
                    allow_patterns=list(files),
                    **shared,
                )
            )
            _check_required(repo_id, {path.name for path in cached.iterdir()}, files)
            for name in files:
                if not _is_intact(cached / name, (cached / name).resolve().name):
                    raise SentimentError(
                        f"The cached {name} of {repo_id!r} is damaged; load it once with the Hub"
                        " in reach.",
                        exit_status=1,
                    )
            return cached
        info = HfApi(token=options.get("token")).model_info(
            repo_id, revision=revision, files_metadata=True, timeout=HUB_TIMEOUT_SECONDS
        )
        listed = {sibling.rfilename: sibling for sibling in info.siblings or []}
        _check_required(repo_id, set(listed), files)
        for name in files:
            if (listed[name].size or 0) > LARGEST_FILE_BYTES:
                raise SentimentError(f"The {name} of {repo_id!r} is too large for a checkpoint.")
        folder = Path()
        for name in files:
            entry = listed[name]
            checksum = entry.lfs.sha256 if entry.lfs else entry.blob_id
            for force in (bool(options.get("force_download")), True):
                path = Path(
                    hf_hub_download(
                        repo_id, name, revision=info.sha, force_download=force, **shared
                    )
                )
                if _is_intact(path, checksum or path.resolve().name):
                    break
                logger.warning("%s of %s arrived damaged; fetching it again.", name, repo_id)
            else:
                path.resolve().unlink(missing_ok=True)
                raise SentimentError(
                    f"The {name} of {repo_id!r} is not what the Hub says it is: its checksum"
                    " differs, twice. Nothing of it was kept.",
                    exit_status=1,
                )
            folder = path.parent
        _remember_revision(folder, revision or "main", info.sha)
    return folder


def _remember_revision(snapshot: Path, revision: str, commit: str | None) -> None:
    """Notes in the cache which commit a revision was, so that it is found again offline.

    The client does so only where it resolves each file by itself; the layout is the documented
    one: `snapshots/COMMIT` beside `refs/REVISION`.
    """
    reference = snapshot.parent.parent / "refs" / revision
    if commit and revision != commit:
        reference.parent.mkdir(parents=True, exist_ok=True)
        write_text(reference, commit)


def _check_required(repo_id: str, found: set[str], files: tuple[str, ...]) -> None:
    for name in files:
        if name not in found:
            pickles = sorted(f for f in found if f.endswith((".bin", ".pt", ".pth", ".pkl")))
            only = f" Its {pickles[0]} is a pickle file, which is never opened." if pickles else ""
            raise SentimentError(f"The model {repo_id!r} has no {name}.{only}")


def _is_intact(path: Path, checksum: str) -> bool:
    """Whether a file has the checksum of the Hub: sha256 for large files, git's sha1 for others."""
    if not path.exists():
        return False
    content = path.read_bytes()
    if len(checksum) == 64:
        return hashlib.sha256(content).hexdigest() == checksum
    header = f"blob {len(content)}\0".encode()
    return hashlib.sha1(header + content, usedforsecurity=False).hexdigest() == checksum


class PushOptions(TypedDict, total=False):
    """How a repository of the Hub is written."""

    private: bool | None
    branch: str | None
    create_pr: bool
    tag: str | None
    replace_card: bool
    commit_message: str | None
    token: str | bool | None


def push_folder(folder: str | Path, repo_id: str, **options: Unpack[PushOptions]) -> str:
    """Shares a checkpoint folder in one commit and gives the address of it.

    Only the files of a checkpoint are sent. A card that a person edited on the Hub is kept, with
    its metadata brought up to date, unless `replace_card`.

    Args:
        options: `private`: whether a repository made by this push is private; `branch`: pushed to,
            and made if it does not exist; `create_pr`: as a pull request, for somebody to merge;
            `tag`: a name for the new commit; `commit_message`; `token`.

    Raises:
        SentimentError: the folder is no whole checkpoint, the Hub refuses or is out of reach, or
            somebody else pushed at the same time (nothing is overwritten then).
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    check_keywords("push_to_hub", options, PushOptions)
    folder = Path(folder)
    check_folder(folder)
    branch = options.get("branch")
    api = HfApi(
        token=options.get("token"), library_name="sentiment-hf", library_version=__version__
    )
    without_hub = "the folder is whole, so push it again later"
    with hub_sentences(f"the repository {repo_id!r}", without_hub=without_hub):
        url = api.create_repo(repo_id, private=options.get("private"), exist_ok=True)
        repo_id = url.repo_id
        if branch:
            api.create_branch(repo_id, branch=branch, exist_ok=True)
        info = api.model_info(repo_id, revision=branch, timeout=HUB_TIMEOUT_SECONDS)
        there = {sibling.rfilename for sibling in info.siblings or []}
        files = {str(path.relative_to(folder)): path for path in published(folder)}
        card = render_card(folder, repo_id)
        if CARD_FILE in there and not options.get("replace_card"):
            card = _merged_card(api, repo_id, info.sha, card)
        operations: list = [
            CommitOperationAdd(name, path) for name, path in files.items() if name != CARD_FILE
        ]
        operations.append(CommitOperationAdd(CARD_FILE, card.encode()))
        stale = [f for f in there if f.startswith(f"{FIGURES_FOLDER}/") and f not in files]
        operations += [CommitOperationDelete(name) for name in stale]
        commit = api.create_commit(
            repo_id,
            operations,
            commit_message=options.get("commit_message")
            or f"Checkpoint from sentiment-hf {__version__}",
            revision=branch,
            create_pr=options.get("create_pr") or None,
            parent_commit=info.sha,
        )
        if tag := options.get("tag"):
            api.create_tag(repo_id, tag=tag, revision=commit.oid)
    return str(commit.pr_url or url)


def check_folder(folder: Path) -> None:
    """Reads what is about to be shared as strictly as everybody will.

    Raises:
        SentimentError: something is missing or damaged.
    """
    for name in REQUIRED_FILES:
        if (folder / name).is_symlink():
            raise SentimentError(
                f"{folder / name} is a link, which is not shared: put the file there itself."
            )
    config = read_config(folder)
    read_network(folder, config, LSTMClassifier)
    if (folder / TOKENIZER_FILE).exists():
        read_tokenizer(folder, config)


def _merged_card(api: "HfApi", repo_id: str, commit: str | None, ours: str) -> str:
    """Our card with what a person has added on the Hub: their metadata, and their text."""
    from huggingface_hub import ModelCard, ModelCardData, hf_hub_download

    path = hf_hub_download(repo_id, CARD_FILE, revision=commit, token=api.token)
    card = ModelCard(ours)
    measured = card.data.to_dict()
    theirs = ModelCard(Path(path).read_text(encoding="utf-8"), ignore_metadata_errors=True)
    written = theirs.data.to_dict()
    merged = {**measured, **written}
    for key in ("tags", "datasets", "metrics"):
        both = [*written.get(key, []), *measured.get(key, [])]
        if both:
            merged[key] = list(dict.fromkeys(both))
    # What was measured on this checkpoint replaces what was measured on an older one.
    if "model-index" in measured:
        merged["model-index"] = measured["model-index"]
    if not is_as_rendered(theirs.text):
        logger.warning("The card on the Hub was edited by hand: its text is kept.")
        card = theirs
    if merged == card.data.to_dict():
        return str(card)
    card.data = ModelCardData(**merged, ignore_metadata_errors=True)
    return str(card)
