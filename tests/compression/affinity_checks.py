"""What holds of every objective of affinity mimicking."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import mm_kptm
from mm_kptm.batch import Images, Inputs, Tokens
from mm_kptm.compression.affinity_mimicking import AffinityMimicking
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import build
from mm_kptm.experiment.run import evaluated, train
from mm_kptm.experiment.settings import Experiment
from mm_kptm.vision.contrastive.two_queues import queries, two_towers
from tests.small_towers import SIZES


def assert_divergence(objective: AffinityMimicking, vectors: Callable[[], Tensor]) -> None:
    """The loss of three pairs, of the examples 0, 2 and 1, is the divergence written out."""
    system = mm_kptm.build("dual-tower", seed=0, **SIZES["dual-tower"])
    numbers = torch.tensor([0, 2, 1])
    shown = Images(pixels=torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0)))
    pairs = Inputs(text=Tokens.of([[0, 5, 2], [0, 6, 2], [0, 7, 2]]), images=shown, labels={objective.name: numbers})
    batch = objective.prepare(pairs, torch.Generator())
    with torch.no_grad():
        images, texts = queries(two_towers(system), batch)
        taught, measured = vectors()[numbers], objective.measure(system, batch)
    side, temperature = objective.side(images, texts), objective.temperature
    for row in range(3):
        others = [place for place in range(3) if place != row]
        target = (taught[row] @ taught[others].T / temperature).softmax(-1)
        total = 0.0
        for one, other in ((side, side), (images, texts), (texts, images)):
            found = (one[row] @ other[others].T / temperature).softmax(-1)
            total += float((target * (target / found).log()).sum())
        assert measured[row].item() == pytest.approx(total / 3, rel=1e-4, abs=1e-6)


def assert_resumes(settings: Experiment, folder: Path) -> None:
    """A run that goes on after its first step is the run that was not stopped."""
    whole = train(settings, folder / "whole", progress=False)
    train(replace(settings, train=replace(settings.train, steps=1)), folder / "half", progress=False)
    rest = train(settings, folder / "half", progress=False, resume=True)
    for name, tensor in whole.system.state_dict().items():
        assert torch.equal(tensor, rest.system.state_dict()[name]), name


def assert_evaluated_without(settings: Experiment, name: str, run: Path, folder: Path) -> None:
    """A trained run is evaluated where its teacher is gone, and another one is not trained there."""
    gone = replace(settings, objective_arguments={name: {"teacher": str(folder / "gone")}})
    assert "recall@1" in str(evaluated(run, gone, build(gone), "dev"))
    with pytest.raises(UserError, match=r"^the teacher is .*gone, but there is no such file or folder$"):
        train(gone, folder / "other", progress=False)
