"""Contrast of two views of every image: SimCLR's within the batch, MoCo's against a queue.

Shapes: B images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from mm_kptm.batch import Images, Inputs, Movable
from mm_kptm.objectives.spec import ObjectiveContext, ObjectiveSpec
from mm_kptm.systems.system import System
from mm_kptm.vision.contrastive.augmentation import MOCO_V2, ViewAugmentation
from mm_kptm.vision.contrastive.image_encoder import MomentumQueue
from mm_kptm.vision.contrastive.losses.info_nce import queue_losses
from mm_kptm.vision.contrastive.losses.views import view_scores
from mm_kptm.vision.contrastive.preparation import IMAGENET_MEAN, IMAGENET_STD, ImagePreparation

PICTURES = "pictures"


@dataclass(frozen=True, eq=False)
class TwoViews(Movable):
    """Two random views of the same images."""

    first: Inputs
    second: Inputs

    def __len__(self) -> int:
        return len(self.first)


class ViewContrast:
    """Drawing of two views from pictures with values in [0, 1].

    Args:
        augmentation: how views are drawn; their size is that of the pictures unless ``size`` says another.
        size: side of the views.
    """

    def __init__(self, augmentation: ViewAugmentation, *, size: int | None = None) -> None:
        self.augmentation = augmentation
        self.size = size

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> TwoViews:
        """Two views of every picture, normalised as for ImageNet."""
        pixels = inputs.required("images", Images).pixels
        augmentation = ViewAugmentation(**{**vars(self.augmentation), "size": self.size or pixels.shape[-1]})
        normalize = ImagePreparation(mean=IMAGENET_MEAN, std=IMAGENET_STD).normalize
        views = (normalize(view) for view in augmentation.pair(list(pixels), generator))
        first, second = (Inputs(images=Images(pixels=view)) for view in views)
        return TwoViews(first, second)


class NTXent(ViewContrast):
    """Every view against all other views of the batch (Chen et al. 2020, SimCLR, eq. 1), with the head ``projection``.

    Args:
        temperature: divides the cosines.
        augmentation: how views are drawn.
        size: side of the views; that of the pictures unless given.
    """

    name = "nt-xent"
    heads = ("projection",)

    def __init__(
        self,
        *,
        temperature: float = 0.1,
        augmentation: ViewAugmentation = ViewAugmentation(),  # noqa: B008  # frozen
        size: int | None = None,
    ) -> None:
        super().__init__(augmentation, size=size)
        self.temperature = temperature

    def loss(self, system: System, batch: TwoViews) -> Tensor:
        """The mean over images."""
        return self._losses(system, batch, across_processes=True).mean()

    def measure(self, system: System, batch: TwoViews) -> Tensor:
        """The loss of every image among those of this process, [B]."""
        return self._losses(system, batch, across_processes=False)

    def _losses(self, system: System, batch: TwoViews, *, across_processes: bool) -> Tensor:
        head = system.head("projection")
        first, second = (head(system(view).pooled) for view in (batch.first, batch.second))
        scores = view_scores(first, second, temperature=self.temperature, across_processes=across_processes)
        return scores.losses.mean(0)


class MomentumContrast(ViewContrast):
    """One view against the key of the other and a queue (Chen et al. 2020, MoCo v2), with the head ``momentum-queue``.

    Args:
        momentum: share of the old key encoder.
        temperature: divides the cosines.
        augmentation: how views are drawn.
        size: side of the views; that of the pictures unless given.
    """

    name = "momentum-contrast"
    heads = ("momentum-queue",)

    def __init__(
        self,
        *,
        momentum: float = 0.999,
        temperature: float = 0.2,
        augmentation: ViewAugmentation = MOCO_V2,
        size: int | None = None,
    ) -> None:
        super().__init__(augmentation, size=size)
        self.momentum = momentum
        self.temperature = temperature

    def loss(self, system: System, batch: TwoViews) -> Tensor:
        """The mean over images; in training, their keys are enqueued."""
        return self._losses(system, batch, enqueues=system.training).mean()

    def measure(self, system: System, batch: TwoViews) -> Tensor:
        """The loss of every image, [B]; nothing is enqueued."""
        return self._losses(system, batch, enqueues=False)

    def after_step(self, system: System, step: int) -> None:
        """Move the key encoder."""
        self._head(system).follow(system.encoder, self.momentum)

    def _losses(self, system: System, batch: TwoViews, *, enqueues: bool) -> Tensor:
        head = self._head(system)
        queries = F.normalize(head.projection(system(batch.first).pooled), dim=-1)
        with torch.no_grad():
            keys = F.normalize(head.slow_projection(head.slow(batch.second).pooled), dim=-1)
        losses = queue_losses(queries, keys, head.queue.negatives(), 1 / self.temperature)
        if enqueues:
            head.queue.enqueue(keys)
        return losses

    def _head(self, system: System) -> MomentumQueue:
        return cast(MomentumQueue, system.head("momentum-queue"))


def _nt_xent(context: ObjectiveContext) -> NTXent:
    return NTXent(**context.arguments)


def _momentum(context: ObjectiveContext) -> MomentumContrast:
    return MomentumContrast(**context.arguments)


NT_XENT = ObjectiveSpec(
    "nt-xent",
    "Chen et al. 2020, A Simple Framework for Contrastive Learning of Visual Representations, ICML, arXiv:2002.05709",
    _nt_xent,
    needs=(PICTURES,),
    arguments=("temperature", "size"),
)
MOMENTUM_CONTRAST = ObjectiveSpec(
    "momentum-contrast",
    "Chen et al. 2020, Improved Baselines with Momentum Contrastive Learning, arXiv:2003.04297",
    _momentum,
    needs=(PICTURES,),
    arguments=("momentum", "temperature", "size"),
)
