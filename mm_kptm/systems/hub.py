"""Folders of the Hugging Face hub: fetched into its cache, and uploaded."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from mm_kptm.errors import UserError
from mm_kptm.systems.assembly import WEIGHTS
from mm_kptm.systems.checkpoint_files import SUFFIXES
from mm_kptm.systems.checkpoint_folder import CHECKPOINT_NAMES, CONFIG

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
#: What is fetched first: configuration, tokenizer and safe weights; pickles only where there are no others.
_FIRST = ["*.json", "*.txt", "*.bpe", "*.md", "*.safetensors"]
_PICKLES = ["*.bin", "*.pt"]
_BELOW = ["*/*"]  #: folders inside hold other formats of the same weights


def is_repository(name: object) -> bool:
    """Whether this is ``organisation/name`` of the hub and no path of this machine."""
    if not isinstance(name, str) or _REPOSITORY.fullmatch(name) is None:
        return False
    path = Path(name)
    return not path.exists() and not path.parent.is_dir() and path.suffix not in SUFFIXES


def fetch(
    repository: str,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
) -> Path:
    """The folder of a repository in the hub's cache, fetched unless it is there.

    Args:
        repository: ``organisation/name``.
        revision: a branch, tag or commit; the newest of the main branch unless given.
        cache_dir: where the cache lies; ``HF_HOME`` or the home folder's unless given.
        local_files_only: whether to take what the cache holds and to ask nobody; ``HF_HUB_OFFLINE=1`` does the same.

    Raises:
        UserError: there is no such repository or revision, or it cannot be reached and is not in the cache.
    """
    from huggingface_hub import snapshot_download

    fetched = partial(
        snapshot_download,
        repository,
        ignore_patterns=_BELOW,
        revision=revision,
        cache_dir=cache_dir,
        local_files_only=local_files_only,
    )
    try:
        folder = Path(fetched(allow_patterns=_FIRST))
        if not any((folder / name).is_file() for name in CHECKPOINT_NAMES):
            folder = Path(fetched(allow_patterns=_PICKLES))
    except Exception as error:
        raise _explained(repository, revision, error) from None
    return folder


def push(
    folder: str | Path,
    repository: str,
    *,
    revision: str | None = None,
    private: bool | None = None,
    message: str | None = None,
) -> str:
    """Upload a folder that :func:`mm_kptm.save` wrote; the repository is made where there is none.

    Args:
        folder: as it is uploaded, model card and tokenizer included.
        repository: ``organisation/name``.
        revision: the branch; ``main`` unless given.
        private: whether a new repository is seen by its owners alone.
        message: of the commit.

    Returns:
        The address of the commit.

    Raises:
        UserError: the folder is no saved one, the name is no repository's, or the hub refuses.
    """
    from huggingface_hub import HfApi

    folder = Path(folder)
    if not (folder / CONFIG).is_file() or not (folder / WEIGHTS).is_file():
        raise UserError(f"{folder} holds no {CONFIG} and {WEIGHTS}; save a system there first")
    if _REPOSITORY.fullmatch(repository) is None:
        raise UserError(f"{repository!r} is no repository of the hub; name it organisation/name")
    api = HfApi()
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            revision=revision,
            commit_message=message or f"Upload {folder.name} with mm-kptm",
        )
    except Exception as error:
        raise _explained(repository, revision, error) from None
    return str(commit.commit_url)


def _explained(repository: str, revision: str | None, error: Exception) -> Exception:
    """A refusal of the hub in one sentence; whatever is no refusal stays as it is."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return UserError(f"{repository} is gated: ask for access on its page, then log in with `hf auth login`")
    if isinstance(error, errors.RevisionNotFoundError):
        return UserError(f"{repository} has no revision {revision!r}; name a branch, tag or commit of it")
    if isinstance(error, errors.RepositoryNotFoundError):
        return UserError(f"the hub has no repository {repository}, or you may not see it; log in with `hf auth login`")
    if isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled):
        named = f" at revision {revision}" if revision else ""
        return UserError(
            f"{repository}{named} is not in the cache and cannot be fetched; go online, or give its folder"
        )
    if isinstance(error, errors.HfHubHTTPError | errors.HFValidationError | OSError):
        return UserError(f"the hub refuses {repository}: {str(error).strip().splitlines()[0][:200]}")
    return error
