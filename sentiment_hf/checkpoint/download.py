"""The Hub: a MODEL becomes a folder.

One load reads one commit, and every file is compared with the checksum that the Hub gave for it.
"""

import logging
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from sentiment_hf.arguments import check_path
from sentiment_hf.checkpoint.folder import (
    REFERENCE_FOLDER,
    REFERENCE_NAME,
    REQUIRED_FILES,
    is_checkpoint,
)
from sentiment_hf.checkpoint.staging import current_folder
from sentiment_hf.errors import HUB_TIMEOUT_SECONDS, SentimentError, decoded, hub_errors
from sentiment_hf.version import __version__

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import ModelInfo, RepoSibling

LARGEST_FILE_BYTES = 2_000_000_000
LIBRARY: dict[str, Any] = {"library_name": "sentiment-hf", "library_version": __version__}
CHECKSUM = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")
TOKEN = re.compile(r"[!-~]+")
OFFLINE_MODELS = "a checkpoint folder or the built-in 'reference' works without it"

logger = logging.getLogger(__name__)


def find_checkpoint(
    model: str | Path | None = None,
    files: tuple[str, ...] = REQUIRED_FILES,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
) -> Path:
    """The folder of a MODEL: a local folder, the reference checkpoint, or a Hub repository.

    A local folder wins over a Hub id of the same name.

    Args:
        model: a folder, `reference` (the default), or `user/name`, also `user/name@revision`.
        files: what is fetched of a repository.
        revision: a branch, tag or commit of the repository.
        token: for a private repository; by default the one that is logged in with.
        cache_dir: where the files are kept, instead of in the Hub's own cache.
        local_files_only: load from the cache, without a call.
        force_download: fetch the files though they are in the cache.

    Raises:
        SentimentError: there is no such checkpoint, or the Hub is out of reach.
    """
    if model is None or (model == REFERENCE_NAME and not Path(model).is_dir()):
        return REFERENCE_FOLDER
    check_path("model", model)
    if cache_dir is not None:
        check_path("cache_dir", cache_dir)
    folder = current_folder(Path(model))
    if is_checkpoint(folder):
        return folder
    if os.path.isfile(model):
        raise SentimentError(
            f"The model {str(model)!r} is a file; name the folder of a checkpoint, or a Hub id."
        )
    repo_id, at, named = str(model).partition("@")
    if os.path.isdir(folder):
        raise SentimentError(f"The folder {model} holds no checkpoint: it has no config.json.")
    if folder.is_absolute() or repo_id.count("/") != 1 or repo_id.startswith((".", "~", "/")):
        raise SentimentError(f"The model {str(model)!r} does not exist: there is no such folder.")
    if at and (not named or revision not in (None, named)):
        raise SentimentError(
            f"The model {str(model)!r} needs one revision: after its '@', or as `revision`, which"
            f" is {revision!r}."
        )
    revision = named or revision
    if revision and (".." in re.split(r"[/\\]", revision) or Path(revision).is_absolute()):
        raise SentimentError(f"The model {repo_id!r} has no revision {revision!r}.")
    from huggingface_hub import HfApi, constants

    offline = local_files_only or constants.HF_HUB_OFFLINE
    if offline and force_download:
        raise SentimentError(
            "`force_download` asks the Hub for every file, and offline there is none."
        )
    api = HfApi(token=usable_token(token), **LIBRARY)
    what = f"the model {repo_id!r}" + (f" at {revision!r}" if revision else "")
    with hub_errors(what, without_hub=OFFLINE_MODELS):
        if offline:
            return _find_cached(repo_id, files, revision, cache_dir)
        info = api.model_info(
            repo_id, revision=revision, files_metadata=True, timeout=HUB_TIMEOUT_SECONDS
        )
        _check_listed(repo_id, info, files)
        folder = fetch_files(api, repo_id, info, files, cache_dir=cache_dir, force=force_download)
        _remember_revision(folder, revision or constants.DEFAULT_REVISION)
    return folder


def model_name(model: str | Path) -> str:
    """How a MODEL is called in what is written: its Hub id, or its base name."""
    path = Path(model)
    return decoded(path.resolve().name if path.exists() else str(model))


def revision_of(folder: Path) -> str | None:
    """The commit that a folder of the Hub's cache holds; None for any other folder."""
    is_snapshot = folder.parent.name == "snapshots" and re.fullmatch("[0-9a-f]{40}", folder.name)
    return folder.name if is_snapshot else None


def fetch_files(
    api: "HfApi",
    repo_id: str,
    info: "ModelInfo",
    names: Sequence[str],
    *,
    cache_dir: str | Path | None = None,
    force: bool = False,
) -> Path:
    """The folder of the Hub's cache that holds these files of one commit, none of them damaged.

    What is damaged, in the cache or on arrival, is fetched once more.

    Args:
        info: names the commit and lists its files with their checksums.
        force: fetch the files though they are in the cache.

    Raises:
        SentimentError: a file is not what the Hub's checksum says.
    """
    from huggingface_hub.errors import LocalEntryNotFoundError

    checksums = {entry.rfilename: checksum_of(entry) for entry in info.siblings or []}

    def damaged(folder: Path, names: Sequence[str]) -> list[str]:
        return [name for name in names if not _is_intact(folder / name, checksums[name])]

    wanted = list(names)
    if not force:
        # The client's progress bars would show for files that are there, too.
        with suppress(LocalEntryNotFoundError):
            folder = _cached_folder(repo_id, info.sha, cache_dir)
            wanted = damaged(folder, names)
    for again in (force, True):
        if wanted:
            folder = Path(
                api.snapshot_download(
                    repo_id,
                    revision=info.sha,
                    cache_dir=cache_dir,
                    allow_patterns=wanted,
                    force_download=again,
                    etag_timeout=HUB_TIMEOUT_SECONDS,
                )
            )
            wanted = damaged(folder, wanted)
        if wanted and not again:
            logger.warning("%s of %s: damaged; fetching it again.", ", ".join(wanted), repo_id)
    for name in wanted:
        (folder / name).resolve().unlink(missing_ok=True)
    if wanted:
        raise SentimentError(
            f"The {wanted[0]} of {repo_id!r} is not what the Hub says it is: its checksum differs,"
            " twice. Nothing of it was kept.",
            exit_status=1,
        )
    return folder


def _find_cached(
    repo_id: str, files: tuple[str, ...], revision: str | None, cache_dir: str | Path | None
) -> Path:
    """The folder of the local cache that holds these files, without a call."""
    folder = _cached_folder(repo_id, revision, cache_dir)
    for name in files:
        if not _is_intact(folder / name):
            raise SentimentError(
                f"The {name} of {repo_id!r} is missing or damaged in the local cache; load the"
                " model once with the Hub in reach.",
                exit_status=1,
            )
    return folder


def _cached_folder(repo_id: str, revision: str | None, cache_dir: str | Path | None) -> Path:
    """The folder of a revision in the local cache; some of its files may be missing."""
    from huggingface_hub import snapshot_download

    return Path(
        snapshot_download(
            repo_id,
            revision=revision,
            cache_dir=cache_dir,
            local_files_only=True,
            allow_patterns=[],  # Otherwise the client may refuse a folder without saying why.
        )
    )


def checksum_of(entry: "RepoSibling") -> str | None:
    """The Hub's checksum of a file: sha256 for a large one, git's sha1 for another."""
    return entry.lfs.sha256 if entry.lfs else entry.blob_id


def has_checksum(file: BinaryIO, checksum: str) -> bool:
    """Whether a file has this checksum; a large one is read in pieces."""
    from huggingface_hub.utils.sha import git_hash, sha_fileobj

    found = sha_fileobj(file).hex() if len(checksum) == 64 else git_hash(file.read())
    return found == checksum


def _is_intact(path: Path, checksum: str | None = None) -> bool:
    # The cache names a file by its checksum, and links to it; where the disk has no links it keeps
    # the file alone, of which nothing more is known.
    checksum = checksum or path.resolve().name
    if not path.exists() or not CHECKSUM.fullmatch(checksum):
        return path.exists()
    with path.open("rb") as file:
        return has_checksum(file, checksum)


def _remember_revision(folder: Path, revision: str) -> None:
    """Notes in the cache which commit a revision was, so that it is found again offline.

    The client does so only where it resolves a revision itself, in a call without a timeout.
    """
    # A cache that is only to be read serves all the same; the function is not a public one.
    with suppress(OSError, ImportError):
        from huggingface_hub.file_download import _cache_commit_hash_for_specific_revision

        _cache_commit_hash_for_specific_revision(
            str(folder.parent.parent), revision, commit_hash=folder.name
        )


def usable_token(token: str | bool | None) -> str | bool | None:
    """The token, or the one that is logged in with; refuses what no request could carry."""
    from huggingface_hub import get_token

    given = get_token() if token in (None, True) else token
    if isinstance(given, str) and not TOKEN.fullmatch(given):
        raise SentimentError(
            "The token is none: it is empty, or has a blank or a character that no token has"
            " (HF_TOKEN, or `hf auth login`)."
        )
    return given


def _check_listed(repo_id: str, info: "ModelInfo", files: tuple[str, ...]) -> None:
    sizes = {entry.rfilename: entry.size or 0 for entry in info.siblings or []}
    for name in files:
        if name not in sizes:
            pickles = sorted(f for f in sizes if f.endswith((".bin", ".pt", ".pth", ".pkl")))
            only = f" Its {pickles[0]} is a pickle file, which is never opened." if pickles else ""
            raise SentimentError(f"The model {repo_id!r} has no {name}.{only}")
        if sizes[name] > LARGEST_FILE_BYTES:
            raise SentimentError(f"The {name} of {repo_id!r} is too large for a checkpoint.")
