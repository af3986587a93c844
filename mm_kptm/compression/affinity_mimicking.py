"""Affinity mimicking: two towers learn from a teacher which examples of a batch are near each other.

Shapes: B pairs, N examples of training, D dim of the teacher.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mm_kptm.batch import Inputs
from mm_kptm.errors import UserError
from mm_kptm.systems.system import System
from mm_kptm.vision.contrastive.two_queues import queries, two_towers


def named_teacher(name: str, arguments: Mapping[str, object]) -> tuple[str, dict[str, Any]]:
    """The weights of the teacher among the arguments of an objective, and the other arguments.

    Raises:
        UserError: no teacher is named.
    """
    others = dict(arguments)
    weights = str(others.pop("teacher", ""))
    if not weights:
        raise UserError(f"{name} learns from a teacher; name its weights in objective_arguments.{name}.teacher")
    return weights, others


class AffinityMimicking(ABC):
    r"""The affinities of a teacher among one side of the batch are those of the towers (Wu et al. 2023, section 3.1).

    For every example :math:`i` of the side, :math:`p_{ij} \propto \exp(t_i \cdot t_j / \tau)` over the others of the
    batch, with the teacher's vectors :math:`t`. The towers answer with the same temperature, three times: the side
    against itself, image against text and text against image; the loss is the mean of the three Kullback-Leibler
    divergences from :math:`p`. An example's own place is left out, for the contrast of the task says that already.

    The first of the three is similarity-preserving distillation (Tung and Mori 2019) with a softmax in place of the
    squared difference.

    The teacher reads every example of training once, before the first step; nothing of it is saved. Inputs say by the
    label that is called as the objective which of the examples of training theirs are.

    Args:
        temperature: tau.
    """

    name: str
    need: str  #: what the teacher reads, as data sets offer it
    heads: tuple[str, ...] = ()

    def __init__(self, *, temperature: float = 0.1) -> None:
        if not temperature > 0:
            raise UserError(f"{self.name}.temperature is {temperature} but must be greater than 0")
        self.temperature = temperature
        self._vectors: Tensor | None = None

    @abstractmethod
    def read(self, device: torch.device) -> Tensor:
        """The teacher's vectors of all examples of training, of length 1, [N, D]."""

    @abstractmethod
    def side(self, images: Tensor, texts: Tensor) -> Tensor:
        """The side of the pairs that the teacher reads, [B, .]."""

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> Inputs:
        """The pairs as they are; nothing is drawn.

        Raises:
            UserError: they do not say which examples of training theirs are.
        """
        if self.name not in inputs.labels:
            raise UserError(f"{self.name} needs {self.need}, which these inputs do not name")
        return inputs

    def loss(self, system: System, batch: Inputs) -> Tensor:
        """The mean over pairs."""
        return self.measure(system, batch).mean()

    def measure(self, system: System, batch: Inputs) -> Tensor:
        """The loss of every pair among those of this process, [B]."""
        images, texts = queries(two_towers(system), batch)
        taught, learnt = self._vectors_of(batch.labels[self.name]), self.side(images, texts)
        target = self._near(taught, taught)
        answers = ((learnt, learnt), (images, texts), (texts, images))
        losses = [F.kl_div(self._near(*pair), target, reduction="none", log_target=True) for pair in answers]
        return torch.stack(losses).sum(-1).mean(0)

    def _near(self, one: Tensor, other: Tensor) -> Tensor:
        """Log probabilities of the others of the batch for each, [B, B - 1]."""
        count = len(one)
        scores = one.float() @ other.float().T / self.temperature
        others = ~torch.eye(count, dtype=torch.bool, device=scores.device)
        return scores[others].view(count, count - 1).log_softmax(-1)

    def _vectors_of(self, numbers: Tensor) -> Tensor:
        """The teacher's vectors by number, [B, D]."""
        if self._vectors is None:
            self._vectors = self.read(numbers.device)
        return self._vectors[numbers]
