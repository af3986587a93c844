"""Image teachers: any image encoder with weights, whose vectors of pictures are computed once.

Shapes: N pictures, D dim of the teacher.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from mm_kptm.compression.teacher import centred, existing, load_teacher
from mm_kptm.errors import UserError
from mm_kptm.nn.backbones import TimmBackbone
from mm_kptm.vision.contrastive.image_encoder import ImageEncoder
from mm_kptm.vision.contrastive.preparation import ImagePreparation
from mm_kptm.vision.contrastive.towers import DualTower


class Pictures(Protocol):
    """Pictures by number, decoded when they are asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> Image.Image: ...


@dataclass(frozen=True)
class FrozenImageEncoder:
    """What turns pictures into vectors."""

    module: nn.Module
    prepare: ImagePreparation
    embed: Callable[[Tensor], Tensor]  #: from prepared pixels, [N, 3, size, size] -> [N, D]


@dataclass(frozen=True)
class ImageTeacher:
    """An image encoder that is not trained.

    Args:
        weights: a folder that :func:`mm_kptm.save` wrote, a run (of two towers the image tower is taken), a file of
            timm or torchvision, or published weights of a system, ``package:NAME`` included.
        recipe: of published weights of a system; a folder of the suite and a package know their own.
        backbone: name in timm, of a file of timm or torchvision.
        size: side of the squares that a backbone reads, in pixels; None: as published.
    """

    weights: str
    recipe: str = ""
    backbone: str = ""
    size: int | None = None

    def load(self) -> FrozenImageEncoder:
        """The encoder with its published preparation, in evaluation mode; fresh weights are drawn apart.

        Raises:
            UserError: there are no such weights or backbone, the weights do not fit or read no pictures, or the encoder
                reads no pictures of that size.
        """
        if self.recipe and self.backbone:
            raise UserError(
                f"the teacher {self.weights} has the recipe {self.recipe} and the backbone {self.backbone}; name the "
                "one of the two that its weights are of"
            )
        with torch.random.fork_rng(devices=[]):
            if self.backbone:
                backbone = TimmBackbone(self.backbone, size=self.size, trainable=False)
                backbone.load(existing(self.weights))
                form = backbone.image_format
                return _of_backbone(backbone, form.mean, form.std)
            remedy = "name the recipe that reads them, or the backbone of timm"
            system = load_teacher(self.weights, self.recipe, remedy=remedy)
            if isinstance(system.encoder, ImageEncoder):
                backbone = TimmBackbone(str(system.sizes["backbone"]), size=self.size, trainable=False)
                backbone.fill(system.encoder.backbone.state_dict(), self.weights)
                return _of_backbone(backbone, system.encoder.mean, system.encoder.std)
        if not isinstance(system.encoder, DualTower):
            raise UserError(f"the teacher {self.weights} is {system.recipe}, which does not turn pictures into vectors")
        prepare = system.encoder.preparation
        if self.size not in (None, prepare.size):
            raise UserError(
                f"the teacher {self.weights} reads pictures of {prepare.size} pixels a side, but size is {self.size}; "
                "leave it out"
            )
        return FrozenImageEncoder(system.encoder, prepare, system.encoder.embed_images)

    def vectors(self, pictures: Pictures, *, batch_size: int = 32, device: torch.device | str | None = None) -> Tensor:
        """Vectors of length 1, those of all pictures centred first, [N, D].

        Raises:
            UserError: as :meth:`load`.
        """
        return centred(self.features(pictures, batch_size=batch_size, device=device))

    @torch.no_grad()
    def features(self, pictures: Pictures, *, batch_size: int = 32, device: torch.device | str | None = None) -> Tensor:
        """What the encoder makes of pictures, at length 1, [N, D]; they are decoded a batch at a time.

        Raises:
            UserError: as :meth:`load`.
        """
        encoder = self.load()
        encoder.module.to(device)
        parts = []
        for first in range(0, len(pictures), batch_size):
            some = [pictures[number] for number in range(first, min(first + batch_size, len(pictures)))]
            parts.append(F.normalize(encoder.embed(encoder.prepare(some).to(device)).float(), dim=-1))
        return torch.cat(parts)


def _of_backbone(backbone: TimmBackbone, mean: Sequence[float], std: Sequence[float]) -> FrozenImageEncoder:
    """A backbone with the size and the filter of its publication."""
    form = backbone.image_format
    prepare = ImagePreparation(form.size, mean=mean, std=std, interpolation=form.interpolation)
    return FrozenImageEncoder(backbone, prepare, backbone.pooled)
