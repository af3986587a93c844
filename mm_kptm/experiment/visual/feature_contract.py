"""The feature contract of a run: written beside what it trained, and checked before features are read again."""

from __future__ import annotations

from pathlib import Path

from mm_kptm.errors import notice
from mm_kptm.experiment.settings import Experiment
from mm_kptm.vision.features.contract import CONTRACT, FeatureContract, contract_path, read_contract, require_same
from mm_kptm.vision.features.contract import write_contract as write


def contract_of(settings: Experiment) -> FeatureContract | None:
    """How the region features of an experiment were made; None without features, or where their store says nothing.

    Raises:
        UserError: the contract of the store cannot be read.
    """
    features = getattr(settings.data, "features", None)
    if features is None or not (path := contract_path(Path(features))).is_file():
        return None
    return read_contract(path)


def check_contract(settings: Experiment, trained: Path | None) -> None:
    """Refuse features that were made otherwise than those that weights were trained on.

    A store without a contract is only pointed out.

    Args:
        settings: of the experiment that reads features.
        trained: a run folder, or one that was saved; None, or a folder without a contract, allows any features.

    Raises:
        UserError: the contracts differ; the values are named.
    """
    features = getattr(settings.data, "features", None)
    if trained is None or features is None or not (trained / CONTRACT).is_file():
        return
    wanted, found = read_contract(trained / CONTRACT), contract_of(settings)
    if found is None:
        notice(
            f"{trained} was trained on features of {wanted.extractor} (weights {wanted.weights}), but {features} has "
            f"no {CONTRACT} that says how its own were made"
        )
        return
    require_same(found, wanted, str(features))


def write_contract(settings: Experiment, folder: Path) -> None:
    """Write the contract of an experiment's features into a folder, where there is one."""
    if (contract := contract_of(settings)) is not None:
        write(contract, folder / CONTRACT)
