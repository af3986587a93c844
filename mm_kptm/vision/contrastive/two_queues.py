"""BriVL's training: towers that follow by momentum, and a queue of keys for either side.

Shapes: B pairs, K keys of a queue, D dim.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mm_kptm.batch import Images, Inputs, Movable
from mm_kptm.errors import UserError
from mm_kptm.systems.system import System
from mm_kptm.vision.contrastive.grid_pooling import GridPoolingTower
from mm_kptm.vision.contrastive.losses.info_nce import queue_losses
from mm_kptm.vision.contrastive.losses.queues import KeyQueue, follow
from mm_kptm.vision.contrastive.towers import DualTower


class TwoQueues(nn.Module):
    """Key towers and queues of both sides; nothing in it has gradients.

    Args:
        encoder: the towers that are followed.
        queue_size: K.
    """

    def __init__(self, encoder: DualTower, *, queue_size: int = 9600) -> None:
        super().__init__()
        self.image = copy.deepcopy(encoder.image).requires_grad_(False)
        self.text = copy.deepcopy(encoder.text).requires_grad_(False)
        self.image_queue = KeyQueue(queue_size, encoder.dim)
        self.text_queue = KeyQueue(queue_size, encoder.dim)

    def follow(self, encoder: DualTower, momentum: float) -> None:
        """Move both key towers towards the trained ones."""
        follow(self.image, encoder.image, momentum)
        follow(self.text, encoder.text, momentum)


@dataclass(frozen=True, eq=False)
class QueuedPairs(Movable):
    """Images and texts, paired by index, and what the key towers read of them."""

    queries: Inputs
    keys: Inputs

    def __len__(self) -> int:
        return len(self.queries)


class TwoQueueContrast:
    """Images against a queue of texts and texts against a queue of images (Huo et al. 2021, eq. 1 to 4).

    A step takes queries, moves the key towers, takes keys, scores both against the queues as they were, and then
    enqueues the keys; the loss is the sum of both directions. A measurement changes nothing.

    Args:
        momentum: share of the old key towers.
        temperature: divides the cosines.
    """

    name = "two-queue-contrast"
    heads = ("two-queues",)

    def __init__(self, *, momentum: float = 0.99, temperature: float = 0.07) -> None:
        self.momentum = momentum
        self.temperature = temperature

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> QueuedPairs:
        """The pairs; queries and keys are the same."""
        return QueuedPairs(inputs, inputs)

    def loss(self, system: System, batch: QueuedPairs) -> Tensor:
        """The mean over pairs; in training, key towers and queues move on."""
        return self._losses(system, batch, moves=system.training).mean()

    def measure(self, system: System, batch: QueuedPairs) -> Tensor:
        """The loss of every pair, [B]."""
        return self._losses(system, batch, moves=False)

    def step(self, system: System, batch: QueuedPairs) -> Tensor:
        """The loss of a training step, with the towers in whatever mode they are."""
        return self._losses(system, batch, moves=True).mean()

    def _losses(self, system: System, batch: QueuedPairs, *, moves: bool) -> Tensor:
        encoder, queues = two_towers(system), cast(TwoQueues, system.head("two-queues"))
        images, texts = queries(encoder, batch.queries)
        with torch.no_grad():
            if moves:
                queues.follow(encoder, self.momentum)
            image_keys = F.normalize(image_vectors(queues.image, batch.keys.required("images", Images)), dim=-1)
            text_keys = F.normalize(queues.text(batch.keys), dim=-1)
        scale = 1 / self.temperature
        losses = queue_losses(images, text_keys, queues.text_queue.negatives(), scale)
        losses = losses + queue_losses(texts, image_keys, queues.image_queue.negatives(), scale)
        if moves:
            queues.image_queue.enqueue(image_keys)
            queues.text_queue.enqueue(text_keys)
        return losses


def two_towers(system: System) -> DualTower:
    """The two towers of a system.

    Raises:
        UserError: it has none.
    """
    if not isinstance(system.encoder, DualTower):
        raise UserError(
            f"images are contrasted with texts by two towers, which {system.recipe} does not have; take one of the "
            "family clip, align or dual-tower"
        )
    return system.encoder


def queries(encoder: DualTower, inputs: Inputs) -> tuple[Tensor, Tensor]:
    """The normalised vectors of images and texts, each [B, D]."""
    images = image_vectors(encoder.image, inputs.required("images", Images))
    return F.normalize(images, dim=-1), F.normalize(encoder.embed_text(inputs), dim=-1)


def image_vectors(tower: nn.Module, images: Images) -> Tensor:
    """The vectors of images, by their boxes where the tower reads boxes, [B, D]."""
    vectors: Tensor = tower.boxed(images) if isinstance(tower, GridPoolingTower) else tower(images.pixels)
    return vectors
