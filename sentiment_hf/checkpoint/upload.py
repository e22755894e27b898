"""A checkpoint folder becomes a repository of the Hub: one push is one commit on a known parent."""

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterable
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sentiment_hf.checkpoint.card import render_card, updated_card
from sentiment_hf.checkpoint.download import (
    LIBRARY,
    checksum_of,
    fetch_files,
    has_checksum,
    usable_token,
)
from sentiment_hf.checkpoint.folder import (
    CARD_FILE,
    PAGE_FILES,
    PUBLISHED_FILES,
    RECORD_FILES,
    REQUIRED_FILES,
    TOKENIZER_FILE,
    has_name_of,
    is_own_file,
    published,
    read_config,
)
from sentiment_hf.checkpoint.records import read_record
from sentiment_hf.checkpoint.staging import current_folder
from sentiment_hf.checkpoint.tokenizer_file import read_tokenizer
from sentiment_hf.checkpoint.weights import read_weights
from sentiment_hf.errors import HUB_TIMEOUT_SECONDS, SentimentError, hub_errors, without_password
from sentiment_hf.version import __version__

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import ModelInfo

WITHOUT_HUB = "the folder is whole, so push it again later"


def push_folder(
    folder: str | Path,
    repo_id: str,
    *,
    space: bool = False,
    private: bool | None = None,
    branch: str | None = None,
    create_pr: bool = False,
    tag: str | None = None,
    replace_card: bool = False,
    commit_message: str | None = None,
    token: str | bool | None = None,
) -> str:
    """Shares a checkpoint folder in one commit and gives the address of it.

    Only the files of a checkpoint are sent, and those that an older push left there and this one
    does not have are deleted. A card that a person edited on the Hub is kept, with its metadata
    brought up to date, unless `replace_card`. A push that was cut off can be repeated; one whose
    pull request was made all the same makes a second one.

    Args:
        space: the folder is a page that `export` wrote, and becomes a static Space. A card that is
            there already is kept as it is, unless `replace_card`.
        private: whether a repository made by this push is private.
        branch: pushed to, and made if it does not exist.
        create_pr: push as a pull request, for somebody to merge.
        tag: a name for the new commit.
        replace_card: also where a person edited it.

    Raises:
        SentimentError: the folder is no whole checkpoint, the Hub refuses or is out of reach, or
            somebody else pushed at the same time (nothing is overwritten then).
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    folder = current_folder(Path(folder))
    kind, names = ("space", PAGE_FILES) if space else ("model", PUBLISHED_FILES)
    versions = _versions(folder, names)
    if space:
        _check_page(folder)
    else:
        check_folder(folder)
        render_card(folder, repo_id)  # Says now what would fail when the repository is made.
    check_address(repo_id, token)
    api = HfApi(token=token, **LIBRARY)
    with hub_errors(f"the repository {repo_id!r}", without_hub=WITHOUT_HUB):
        info = _open(api, repo_id, kind, private, branch, create_pr)
        repo_id = info.id
        address = without_password(f"{api.endpoint}/{'spaces/' if space else ''}{repo_id}")
        files = published(folder, names)
        new = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
        if _versions(folder, names) != versions:
            raise SentimentError(
                f"{folder} was written meanwhile, and is not shared: push it again.", exit_status=1
            )
        remote = {entry.rfilename: entry for entry in info.siblings or []}
        if not space:
            card = render_card(folder, repo_id)
            if CARD_FILE in new:
                card = updated_card(folder, repo_id, card)
            new[CARD_FILE] = (card if replace_card else _card(api, info, card)).encode()
        changed = [
            name
            for name, content in new.items()
            if name not in remote
            or not has_checksum(BytesIO(content), checksum_of(remote[name]) or "")
        ]
        if space and not replace_card and CARD_FILE in remote and CARD_FILE in changed:
            changed.remove(CARD_FILE)
        stale = [name for name in remote if name not in new and has_name_of(name, names)]
        commit = info.sha
        if tag:
            _check_tag(api, info, kind, tag, is_new=bool(changed or stale))
        if changed or stale:
            made = api.create_commit(
                repo_id,
                [
                    *(CommitOperationAdd(name, new[name]) for name in changed),
                    *(CommitOperationDelete(name) for name in stale),
                ],
                commit_message=commit_message or f"Checkpoint from sentiment-hf {__version__}",
                repo_type=kind,
                revision=branch,
                create_pr=create_pr,
                parent_commit=info.sha,
            )
            commit, address = made.oid, without_password(made.pr_url or address)
        if tag:
            api.create_tag(repo_id, tag=tag, revision=commit, repo_type=kind, exist_ok=True)
    return str(address)


def _versions(folder: Path, names: Iterable[str]) -> dict[Path, tuple[int, ...]]:
    """What tells whether the files of a folder are still those that were checked."""
    from sentiment_hf.data.text_files import file_version

    return {path: file_version(path) for path in published(folder, names)}


def check_folder(folder: Path) -> None:
    """Reads what is about to be shared as strictly as everybody will."""
    for name in REQUIRED_FILES:
        if (folder / name).is_symlink():
            raise SentimentError(
                f"{folder / name} is a link, which is not shared: put the file there itself."
            )
    config = read_config(folder)
    read_weights(folder, config)
    if (folder / TOKENIZER_FILE).exists():
        read_tokenizer(folder, config)
    for name in RECORD_FILES:
        if is_own_file(folder / name) and not read_record(folder, name):
            raise SentimentError(
                f"{folder / name} was measured on other weights: evaluate these, or remove it."
            )


def _check_page(folder: Path) -> None:
    for name in PAGE_FILES:
        if not published(folder, [name]):
            raise SentimentError(
                f"{folder} has no {name}: what becomes a Space is a page that `export` wrote."
            )


def check_name(repo_id: str) -> None:
    """Refuses a name that no repository could have; it becomes a folder's, too."""
    from huggingface_hub.utils import validate_repo_id

    with hub_errors(f"the repository {repo_id!r}", without_hub=WITHOUT_HUB):
        validate_repo_id(repo_id)


def check_address(repo_id: str, token: str | bool | None = None) -> None:
    """Refuses what no push could begin with: an invalid name, no token, the Hub switched off."""
    from huggingface_hub import constants
    from huggingface_hub.errors import LocalTokenNotFoundError, OfflineModeIsEnabled

    check_name(repo_id)
    with hub_errors(f"the repository {repo_id!r}", without_hub=WITHOUT_HUB):
        if not usable_token(token):
            raise LocalTokenNotFoundError
        if constants.HF_HUB_OFFLINE:
            raise OfflineModeIsEnabled


def _open(
    api: "HfApi",
    repo_id: str,
    kind: str,
    private: bool | None,
    branch: str | None,
    create_pr: bool,
) -> Any:
    """What is on the branch; repository and branch are made if they do not exist.

    The first call is one that has a timeout: where the Hub does not answer, nothing is begun.
    """
    from huggingface_hub import errors

    look = partial(
        api.repo_info, repo_type=kind, revision=branch, files_metadata=True,
        timeout=HUB_TIMEOUT_SECONDS,
    )  # fmt: skip
    try:
        try:
            info = look(repo_id)
        except (errors.GatedRepoError, errors.RevisionNotFoundError):
            raise
        except errors.HfHubHTTPError as error:
            if "/" in repo_id and not isinstance(error, errors.RepositoryNotFoundError):
                raise
            sdk = "static" if kind == "space" else None
            repo_id = api.create_repo(
                repo_id, private=private, repo_type=kind, space_sdk=sdk, exist_ok=True
            ).repo_id
            info = look(repo_id)
    except errors.RevisionNotFoundError:
        if create_pr:
            raise
        api.create_branch(repo_id, branch=branch or "main", repo_type=kind, exist_ok=True)
        info = look(repo_id)
    if private and not info.private:
        raise SentimentError(
            f"The repository {repo_id!r} exists and is public; make it private in its settings on"
            " the Hub first."
        )
    return info


def _card(api: "HfApi", info: "ModelInfo", card: str) -> str:
    """The card to push, with what a person wrote into the one on the Hub."""
    remote = [entry.rfilename for entry in info.siblings or []]
    if CARD_FILE not in remote:
        return card
    names = [name for name in (CARD_FILE, *RECORD_FILES) if name in remote]
    return updated_card(fetch_files(api, info.id, info, names), info.id, card)


def _check_tag(api: "HfApi", info: "ModelInfo", kind: str, tag: str, *, is_new: bool) -> None:
    """Refuses a tag that names another commit, before anything is pushed."""
    tags = {ref.name: ref.target_commit for ref in api.list_repo_refs(info.id, repo_type=kind).tags}
    if tag in tags and (is_new or tags[tag] != info.sha):
        raise SentimentError(
            f"The tag {tag!r} of {info.id!r} names another commit ({tags[tag][:7]}); choose another"
            " name."
        )


class PushToHubMixin(ABC):
    """What can be saved as a checkpoint folder can be pushed to the Hub."""

    @abstractmethod
    def save_pretrained(self, folder: str | Path) -> None: ...

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        branch: str | None = None,
        create_pr: bool = False,
        tag: str | None = None,
        replace_card: bool = False,
        commit_message: str | None = None,
        token: str | bool | None = None,
    ) -> str:
        """Shares what `save_pretrained` writes in one commit; the arguments are `push_folder`'s.

        A folder written by `train` holds more: its records and figures. Share that one whole with
        `sentiment-hf push FOLDER REPO_ID`.

        Returns:
            The address of the repository or of the pull request.
        """
        check_name(repo_id)
        with tempfile.TemporaryDirectory() as parent:
            folder = Path(parent) / repo_id.rsplit("/", maxsplit=1)[-1]
            self.save_pretrained(folder)
            return push_folder(
                folder,
                repo_id,
                private=private,
                branch=branch,
                create_pr=create_pr,
                tag=tag,
                replace_card=replace_card,
                commit_message=commit_message,
                token=token,
            )
