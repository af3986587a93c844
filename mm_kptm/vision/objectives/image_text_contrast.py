"""Contrast of images and texts by two towers: softmax or sigmoid, whole or in chunks.

Shapes: B pairs, D dim.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mm_kptm.batch import Inputs
from mm_kptm.objectives.spec import TEXTS, ObjectiveContext, ObjectiveSpec
from mm_kptm.systems.system import System
from mm_kptm.train.parallel.processes import rank_and_world_size
from mm_kptm.vision.contrastive.losses.gradient_cache import chunks_of_images, chunks_of_texts, embed_in_chunks
from mm_kptm.vision.contrastive.losses.info_nce import contrast_losses
from mm_kptm.vision.contrastive.losses.sigmoid import sigmoid_losses
from mm_kptm.vision.contrastive.losses.streamed import BLOCK, streamed_contrast
from mm_kptm.vision.contrastive.towers import DualTower
from mm_kptm.vision.contrastive.two_queues import of_every_text, two_towers

IMAGES = "images, one beside every text"


class ImageTextContrastive:
    """Every image against all texts of the batch and every text against all images (Radford et al. 2021, figure 3).

    The batch is that of all processes. Towers with a bias take the sigmoid loss (SigLIP, Zhai et al. 2023), all others
    InfoNCE; in one process that of large batches is streamed, which changes no value.

    Args:
        label_smoothing: share of the target that is spread over the batch.
        chunk_size: pairs that the towers read at a time, so that a large batch fits (gradient caching); None: all.
    """

    name = "image-text-contrastive"
    heads: tuple[str, ...] = ()

    def __init__(self, *, label_smoothing: float = 0.0, chunk_size: int | None = None) -> None:
        self.label_smoothing = label_smoothing
        self.chunk_size = chunk_size

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> Inputs:
        """The pairs as they are; nothing is drawn."""
        return inputs

    def loss(self, system: System, batch: Inputs) -> Tensor:
        """The mean over the pairs of this process."""
        encoder = two_towers(system)
        images, texts = self._vectors(encoder, batch)
        plain = encoder.similarity.bias is None and not self.label_smoothing and rank_and_world_size()[1] == 1
        if plain and len(images) > BLOCK:
            return streamed_contrast(images, texts, encoder.similarity.scale())
        return self._losses(encoder, images, texts, across_processes=True).mean()

    def measure(self, system: System, batch: Inputs) -> Tensor:
        """The loss of every pair among those of this process, [B]."""
        encoder = two_towers(system)
        return self._losses(encoder, *self._vectors(encoder, batch), across_processes=False)

    def _losses(self, encoder: DualTower, images: Tensor, texts: Tensor, *, across_processes: bool) -> Tensor:
        scale, bias = encoder.similarity.scale(), encoder.similarity.bias
        if bias is not None:
            return sigmoid_losses(images, texts, scale, bias, across_processes=across_processes)
        return contrast_losses(
            images, texts, scale, label_smoothing=self.label_smoothing, across_processes=across_processes
        )

    def _vectors(self, encoder: DualTower, batch: Inputs) -> tuple[Tensor, Tensor]:
        seen, texts = batch.with_streams(text=None), batch.with_streams(images=None, regions=None)
        if self.chunk_size is None:
            return of_every_text(encoder.embed_visual(seen), batch), encoder.embed_text(texts)
        images = embed_in_chunks(encoder.embed_visual, chunks_of_images(seen, self.chunk_size))
        return (
            of_every_text(images, batch),
            embed_in_chunks(encoder.embed_text, chunks_of_texts(texts, self.chunk_size)),
        )


def _build(context: ObjectiveContext) -> ImageTextContrastive:
    return ImageTextContrastive(**context.arguments)


IMAGE_TEXT_CONTRASTIVE = ObjectiveSpec(
    "image-text-contrastive",
    "Radford et al. 2021, Learning Transferable Visual Models From Natural Language Supervision, ICML",
    _build,
    needs=(TEXTS, IMAGES),
    arguments=("label_smoothing", "chunk_size"),
)
