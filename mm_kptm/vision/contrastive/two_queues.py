"""Towers that follow by momentum, and a queue of keys for either side.

Shapes: B pairs, K keys of a queue, D dim.
"""

from __future__ import annotations

import copy

import torch.nn.functional as F
from torch import Tensor, nn

from mm_kptm.batch import Inputs
from mm_kptm.errors import UserError
from mm_kptm.systems.system import System
from mm_kptm.vision.contrastive.losses.queues import KeyQueue, follow
from mm_kptm.vision.contrastive.towers import DualTower, visual_vectors


class TwoQueues(nn.Module):
    """Key towers and queues of both sides (Huo et al. 2021, section 3.2); nothing in it has gradients.

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

    def keys(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """The normalised keys of images and of texts, each [B, D]."""
        images = of_every_text(visual_vectors(self.image, inputs), inputs)
        return F.normalize(images, dim=-1), F.normalize(self.text(inputs), dim=-1)


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
    images = of_every_text(encoder.embed_visual(inputs), inputs)
    return F.normalize(images, dim=-1), F.normalize(encoder.embed_text(inputs), dim=-1)


def of_every_text(images: Tensor, inputs: Inputs) -> Tensor:
    """The vector of the image that each text is about, where texts share images, [N, D] -> [B, D]."""
    return images if inputs.image_of is None else images[inputs.image_of]
