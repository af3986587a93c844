"""Teachers: systems with weights that are not trained, and the form of the vectors that are learnt from them.

Shapes: N examples, D dim of the teacher.
"""

from __future__ import annotations

from pathlib import Path

import torch.nn.functional as F
from torch import Tensor

from mm_kptm.errors import UserError
from mm_kptm.systems import pretrained
from mm_kptm.systems.packaged.weights import is_package, package_of
from mm_kptm.systems.saved import in_run, is_saved
from mm_kptm.systems.system import System


def load_teacher(weights: str, recipe: str = "", *, remedy: str = "name the recipe that reads them, too") -> System:
    """The system with its weights, in evaluation mode and without gradients.

    Args:
        weights: a folder that :func:`mm_kptm.save` wrote, a run, or published weights, ``package:NAME`` included.
        recipe: of published weights; a folder of the suite and a package know their own.
        remedy: advice where published weights come without a recipe.

    Raises:
        UserError: there are no such weights, or they are published and no recipe is named.
    """
    path = existing(weights)
    if is_saved(path):
        system = pretrained.load(str(path), seed=0)
    else:
        named = recipe or (package_of(path).recipe if is_package(path) else "")
        if not named:
            raise UserError(f"the teacher {weights} holds published weights; {remedy}")
        system = pretrained.load(named, weights, heads=[], seed=0)
    return system.eval().requires_grad_(False)


def existing(weights: str) -> Path:
    """Where the weights lie, inside of a run or as they are named; ``UserError`` where nothing is."""
    path = in_run(Path(weights))
    if not is_package(path) and not path.exists():
        raise UserError(f"the teacher is {weights}, but there is no such file or folder")
    return path


def centred(vectors: Tensor) -> Tensor:
    """Vectors of length 1 whose mean was subtracted before, [N, D].

    Vectors of one encoder lie in a narrow cone (Ethayarajh 2019, on words), so their cosines differ little until then.
    """
    return F.normalize(vectors - vectors.mean(dim=0), dim=-1)
