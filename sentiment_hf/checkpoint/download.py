"""The Hub: a MODEL becomes a folder.

One load reads one commit, and every file is compared with the checksum that the Hub gave for it.
"""

import hashlib
import logging
import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sentiment_hf.checkpoint.files import whole_folder
from sentiment_hf.checkpoint.folder import (
    REFERENCE_FOLDER,
    REFERENCE_NAME,
    REQUIRED_FILES,
    is_checkpoint,
)
from sentiment_hf.errors import HUB_TIMEOUT_SECONDS, SentimentError, hub_errors
from sentiment_hf.version import __version__

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoSibling

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
    if not str(model).strip():
        raise SentimentError("A model has a name: a folder, 'reference' or user/name on the Hub.")
    folder = whole_folder(Path(model))
    if is_checkpoint(folder):
        return folder
    name, _, named = str(model).partition("@")
    if os.path.isdir(folder):
        raise SentimentError(f"The folder {model} holds no checkpoint: it has no config.json.")
    if folder.is_absolute() or name.count("/") != 1 or name.startswith((".", "~", "/")):
        raise SentimentError(f"The model {str(model)!r} does not exist: there is no such folder.")
    from huggingface_hub import HfApi, constants

    if "@" in str(model):
        if not named:
            raise SentimentError(f"The model {str(model)!r} has no revision after its '@'.")
        if revision not in (None, named):
            raise SentimentError(
                f"The model {str(model)!r} names a revision, but `revision` is {revision!r}."
            )
        revision = named
    offline = local_files_only or constants.HF_HUB_OFFLINE
    if offline and force_download:
        raise SentimentError(
            "`force_download` asks the Hub for every file, and offline there is none."
        )
    api = HfApi(token=usable_token(token), **LIBRARY)
    at = f" at {revision!r}" if revision else ""
    with hub_errors(f"the model {name!r}{at}", without_hub=OFFLINE_MODELS):
        if offline:
            return _cached(name, files, revision, cache_dir)
        return _download(api, name, files, revision, cache_dir, force_download)


def model_name(model: str | Path) -> str:
    """How a MODEL is called in what is written: its Hub id, or its base name."""
    path = Path(model)
    return path.resolve().name if path.exists() else str(model)


def revision_of(folder: Path) -> str | None:
    """The commit that a folder of the Hub's cache holds; None for any other folder."""
    is_snapshot = folder.parent.name == "snapshots" and re.fullmatch("[0-9a-f]{40}", folder.name)
    return folder.name if is_snapshot else None


def _download(
    api: "HfApi",
    repo_id: str,
    files: tuple[str, ...],
    revision: str | None,
    cache_dir: str | Path | None,
    force: bool,
) -> Path:
    """Fetches files of one commit and checks each against its checksum."""
    info = api.model_info(
        repo_id, revision=revision, files_metadata=True, timeout=HUB_TIMEOUT_SECONDS
    )
    listed = {sibling.rfilename: sibling for sibling in info.siblings or []}
    _check_required(repo_id, set(listed), files)
    for name in files:
        if (listed[name].size or 0) > LARGEST_FILE_BYTES:
            raise SentimentError(f"The {name} of {repo_id!r} is too large for a checkpoint.")
    fetched = [
        fetch_file(api, repo_id, listed[name], info.sha, cache_dir=cache_dir, force=force)
        for name in files
    ]
    _remember_revision(fetched[0].parent, revision or "main", info.sha)
    return fetched[0].parent


def _cached(
    repo_id: str, files: tuple[str, ...], revision: str | None, cache_dir: str | Path | None
) -> Path:
    """The folder of the local cache, without a call."""
    from huggingface_hub import snapshot_download

    folder = Path(
        snapshot_download(
            repo_id,
            revision=revision,
            cache_dir=cache_dir,
            local_files_only=True,
            allow_patterns=list(files),
        )
    )
    for name in files:
        if not (folder / name).exists():
            raise SentimentError(
                f"The model {repo_id!r} is not wholly in the local cache: {name} is missing; load"
                " it once with the Hub in reach.",
                exit_status=1,
            )
        # The cache names a file by its checksum, and links to it; where the disk has no links it
        # keeps the file alone, of which nothing more is known.
        checksum = (folder / name).resolve().name
        if CHECKSUM.fullmatch(checksum) and not _is_intact(folder / name, checksum):
            raise SentimentError(
                f"The cached {name} of {repo_id!r} is damaged; load it once with the Hub in reach.",
                exit_status=1,
            )
    return folder


def fetch_file(
    api: "HfApi",
    repo_id: str,
    entry: "RepoSibling",
    commit: str | None,
    *,
    cache_dir: str | Path | None = None,
    force: bool = False,
) -> Path:
    """Fetches a listed file of a commit, twice if it arrives damaged.

    Raises:
        SentimentError: it is not what the Hub's checksum says.
    """
    name = entry.rfilename
    for again in (force, True):
        path = Path(
            api.hf_hub_download(
                repo_id, name, revision=commit, cache_dir=cache_dir, force_download=again,
                etag_timeout=HUB_TIMEOUT_SECONDS,
            )
        )  # fmt: skip
        if _is_intact(path, checksum_of(entry) or path.resolve().name):
            return path
        logger.warning("%s of %s arrived damaged; fetching it again.", name, repo_id)
    path.resolve().unlink(missing_ok=True)
    raise SentimentError(
        f"The {name} of {repo_id!r} is not what the Hub says it is: its checksum differs, twice."
        " Nothing of it was kept.",
        exit_status=1,
    )


def checksum_of(entry: "RepoSibling") -> str | None:
    """The Hub's checksum of a file: sha256 for a large one, git's sha1 for another."""
    return entry.lfs.sha256 if entry.lfs else entry.blob_id


def has_checksum(content: bytes, checksum: str) -> bool:
    if len(checksum) == 64:
        return hashlib.sha256(content).hexdigest() == checksum
    header = f"blob {len(content)}\0".encode()
    return hashlib.sha1(header + content, usedforsecurity=False).hexdigest() == checksum


def _is_intact(path: Path, checksum: str) -> bool:
    return path.exists() and has_checksum(path.read_bytes(), checksum)


def _remember_revision(snapshot: Path, revision: str, commit: str | None) -> None:
    """Notes in the cache which commit a revision was, so that it is found again offline.

    The client does so only where it resolves each file by itself; the layout is the documented
    one: `snapshots/COMMIT` beside `refs/REVISION`.
    """
    reference = snapshot.parent.parent / "refs" / revision
    if not commit or revision == commit:
        return
    try:
        if reference.exists() and reference.read_text() == commit:
            return
        reference.parent.mkdir(parents=True, exist_ok=True)
        # Several loads at once each write their own file; the last one counts.
        with tempfile.NamedTemporaryFile("w", dir=reference.parent, delete=False) as file:
            file.write(commit)
        os.replace(file.name, reference)
    except OSError:
        return  # A cache that is only to be read serves all the same.


def usable_token(token: str | bool | None) -> str | bool | None:
    """The token itself, unless it is one that no request could carry.

    Raises:
        SentimentError: it is empty or has a character that no token has; it is not shown.
    """
    from huggingface_hub import get_token

    given = get_token() if token in (None, True) else token
    if isinstance(given, str) and not TOKEN.fullmatch(given):
        raise SentimentError(
            "The token is none: it is empty, or has a blank or a character that no token has"
            " (HF_TOKEN, or `hf auth login`)."
        )
    return given


def _check_required(repo_id: str, found: set[str], files: tuple[str, ...]) -> None:
    for name in files:
        if name not in found:
            pickles = sorted(f for f in found if f.endswith((".bin", ".pt", ".pth", ".pkl")))
            only = f" Its {pickles[0]} is a pickle file, which is never opened." if pickles else ""
            raise SentimentError(f"The model {repo_id!r} has no {name}.{only}")
