"""The feature contract of a run: written beside what it trained, and checked before features are read again."""

from __future__ import annotations

from pathlib import Path

from mm_kptm.errors import UserError, notice
from mm_kptm.experiment.settings import Experiment
from mm_kptm.vision.features.contract import (
    CONTRACT,
    WHICH_REGIONS,
    FeatureContract,
    contract_path,
    differences,
    read_contract,
    require_same,
)
from mm_kptm.vision.features.contract import write_contract as write


def contract_of(settings: Experiment) -> FeatureContract | None:
    """How the region features of an experiment were made; None without features, or where their store says nothing.

    Raises:
        UserError: the contract of the store cannot be read.
    """
    features = getattr(settings.data, "features", None)
    return None if features is None else _stored(Path(features))


def check_contract(settings: Experiment, trained: Path | None) -> None:
    """Refuse features that were made otherwise than those that weights were trained on, or than those beside them.

    A store without a contract is only pointed out. Features of detected regions (``data.detected``) may be of other
    regions than the others, and nothing else.

    Args:
        settings: of the experiment that reads features.
        trained: a run folder, or one that was saved; None, or a folder without a contract, allows any features.

    Raises:
        UserError: the contracts differ; the values are named.
    """
    _check_detected(settings)
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


def _check_detected(settings: Experiment) -> None:
    detected = getattr(settings.data, "detected", None)
    if detected is None or (ours := contract_of(settings)) is None or (theirs := _stored(Path(detected))) is None:
        return
    if broken := differences(theirs, ours, ignored=WHICH_REGIONS):
        raise UserError(
            f"data.detected is {detected}, whose features were made otherwise than those of data.features: "
            f"{'; '.join(broken)}; extract both in the same way"
        )


def _stored(features: Path) -> FeatureContract | None:
    path = contract_path(features)
    return read_contract(path) if path.is_file() else None
