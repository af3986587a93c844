"""Contrast of images and texts against two queues of keys, as BriVL is trained.

Shapes: B pairs, D dim.
"""

from __future__ import annotations

from functools import partial
from typing import cast

import torch
from torch import Tensor

from mm_kptm.batch import Inputs
from mm_kptm.objectives.spec import TEXTS, ObjectiveContext, ObjectiveSpec
from mm_kptm.systems.system import System
from mm_kptm.vision.contrastive.losses.info_nce import queue_losses
from mm_kptm.vision.contrastive.two_queues import TwoQueues, queries, two_towers
from mm_kptm.vision.objectives.image_text_contrast import IMAGES


class TwoQueueContrast:
    """Images against a queue of texts and texts against a queue of images (Huo et al. 2021, eq. 1 to 4).

    The loss is the sum of both directions. Keys are scored against the queues as they were and enqueued afterwards, in
    training alone. The key towers move after every optimiser step, and so before the keys of the next batch are taken.

    Args:
        momentum: share of the old key towers.
        temperature: divides the cosines.
        queue_size: keys of either queue; None: as many as published for the system.
        in_batch_negatives: whether the keys of other pairs of the batch are negatives beside the queue (Li et al. 2021,
            ALBEF). Without them a query may tell its own key by its age alone: those of the queue are older.
    """

    name = "two-queue-contrast"
    heads = ("two-queues",)

    def __init__(
        self,
        *,
        momentum: float = 0.99,
        temperature: float = 0.07,
        queue_size: int | None = None,
        in_batch_negatives: bool = False,
    ) -> None:
        self.momentum = momentum
        self.temperature = temperature
        self.in_batch_negatives = in_batch_negatives
        self.head_sizes = {} if queue_size is None else {"two-queues": {"queue_size": queue_size}}

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> Inputs:
        """The pairs as they are; nothing is drawn."""
        return inputs

    def loss(self, system: System, batch: Inputs) -> Tensor:
        """The mean over pairs; in training, their keys are enqueued."""
        return self.losses(system, batch, enqueues=system.training, across_processes=True).mean()

    def measure(self, system: System, batch: Inputs) -> Tensor:
        """The loss of every pair among those of this process, [B]; nothing is enqueued."""
        return self.losses(system, batch, enqueues=False, across_processes=False)

    def after_step(self, system: System, step: int) -> None:
        """Move the key towers."""
        self._queues(system).follow(two_towers(system), self.momentum)

    def losses(self, system: System, batch: Inputs, *, enqueues: bool, across_processes: bool = False) -> Tensor:
        """The loss of every pair, [B]."""
        images, texts = queries(two_towers(system), batch)
        queues = self._queues(system)
        with torch.no_grad():
            image_keys, text_keys = queues.keys(batch)
        contrast = partial(
            queue_losses,
            scale=1 / self.temperature,
            in_batch_negatives=self.in_batch_negatives,
            across_processes=across_processes,
        )
        losses = contrast(images, text_keys, queues.text_queue.negatives())
        losses = losses + contrast(texts, image_keys, queues.image_queue.negatives())
        if enqueues:
            queues.image_queue.enqueue(image_keys)
            queues.text_queue.enqueue(text_keys)
        return losses

    def _queues(self, system: System) -> TwoQueues:
        return cast(TwoQueues, system.head("two-queues"))


def _build(context: ObjectiveContext) -> TwoQueueContrast:
    return TwoQueueContrast(**context.arguments)


TWO_QUEUE_CONTRAST = ObjectiveSpec(
    "two-queue-contrast",
    "Huo et al. 2021, WenLan: Bridging Vision and Language by Large-Scale Multi-Modal Pre-Training, arXiv:2103.06561",
    _build,
    needs=(TEXTS, IMAGES),
    arguments=("momentum", "temperature", "queue_size", "in_batch_negatives"),
)
