"""Two towers, one for images and one for texts, that meet in one space.

Shapes: B texts, N images, T tokens, D dim of the joint space.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from PIL.Image import Image
from torch import Tensor, nn

from mm_kptm.batch import ALL_ROWS, Encoded, Images, Inputs, OutputRows, Regions
from mm_kptm.errors import UserError
from mm_kptm.systems.encoder import TextLimits
from mm_kptm.vision.contrastive.grid_pooling import GridPoolingTower, TokenAttentionTower
from mm_kptm.vision.contrastive.preparation import ImagePreparation
from mm_kptm.vision.contrastive.region_tower import RegionTower
from mm_kptm.vision.contrastive.similarity import Similarity
from mm_kptm.vision.contrastive.text_towers import TextTower

#: What is frozen, by the value of ``frozen``: parts of the towers.
FROZEN: dict[str, tuple[str, ...]] = {
    "none": (), "image": ("image",), "text": ("text",), "encoders": ("image.trunk", "text.encoder")
}  # fmt: skip


class DualTower(nn.Module):
    """An image tower and a text tower (Radford et al. 2021, figure 1).

    Args:
        image: from pixels [N, 3, height, width] to vectors [N, D].
        text: the text tower.
        similarity: from vectors to scores.
        preparation: from pictures to pixels.
        dim: D.
        frozen: the tower that is not trained and stays in evaluation mode: ``none``, ``image`` (locked-image tuning,
            Zhai et al. 2022) or ``text``; its projection, if it lies in the tower, is frozen with it. Of ``encoders``,
            both keep their weights and only the projections behind them learn.

    Raises:
        UserError: ``frozen`` names something else, or a part that a tower does not have.
    """

    def __init__(
        self,
        image: nn.Module,
        text: TextTower | TokenAttentionTower,
        similarity: Similarity,
        preparation: ImagePreparation,
        *,
        dim: int,
        frozen: str = "none",
    ) -> None:
        super().__init__()
        if frozen not in FROZEN:
            raise UserError(f"frozen is {frozen!r}, but must be one of {', '.join(FROZEN)}")
        self.image = image
        self.text = text
        self.similarity = similarity
        self.preparation = preparation
        self.dim = dim
        self.frozen = frozen
        for part in FROZEN[frozen]:
            try:
                self.get_submodule(part).requires_grad_(False)
            except AttributeError:
                raise UserError(
                    f"frozen is {frozen!r}, but this model has no {part}; take dual-tower with a backbone of timm, or "
                    "freeze image or text"
                ) from None
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Training mode for what is trained; a frozen tower drops nothing and moves no running mean."""
        super().train(mode)
        for part in FROZEN[self.frozen]:
            self.get_submodule(part).eval()
        return self

    def forward(self, inputs: Inputs, output_rows: OutputRows = ALL_ROWS) -> Encoded:
        """States of the tokens and vectors of images, as wanted; pooled: the vectors of texts, else of images, [., D].

        Raises:
            UserError: there are neither texts nor images.
        """
        seen = next((name for name in ("images", "regions") if name in inputs.streams), None)
        if inputs.text is None and seen is None:
            raise UserError("two towers read text or images, but the inputs have neither")
        states: dict[str, Tensor] = {}
        if inputs.text is not None and output_rows.wants("text"):
            states["text"] = self.text.states(inputs)[output_rows["text"]]
        if seen is not None and output_rows.wants("images"):
            states["images"] = self.embed_visual(inputs)[output_rows["images"]]
        if not output_rows.pooled:
            return Encoded(states, next(self.parameters()).new_empty(0, self.dim))
        return Encoded(states, self.embed_visual(inputs) if inputs.text is None else self.embed_text(inputs))

    @property
    def text_limits(self) -> TextLimits:
        """Positions, words and languages of the text tower."""
        return self.text.limits

    def prepare_images(self, images: Sequence[Image]) -> Tensor:
        """Pictures of any size and mode as pixels, [N, 3, height, width]."""
        return self.preparation(images)

    def embed_images(self, pixels: Tensor) -> Tensor:
        """The vectors of prepared pixels, not normalised, [N, D]."""
        return self.embed_visual(Inputs(images=Images(pixels=pixels)))

    def embed_visual(self, inputs: Inputs) -> Tensor:
        """The vectors of the images of the inputs, of whichever form the image tower reads, not normalised, [N, D]."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.frozen != "image"):
            return visual_vectors(self.image, inputs)

    def embed_text(self, inputs: Inputs) -> Tensor:
        """The vectors of texts, not normalised, [B, D]."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.frozen != "text"):
            vectors: Tensor = self.text(inputs)
        return vectors

    def scores(self, images: Tensor, texts: Tensor) -> Tensor:
        """The score of every image with every text, from their vectors: [N, D], [B, D] -> [N, B]."""
        scores: Tensor = self.similarity(images, texts)
        return scores


def visual_vectors(tower: nn.Module, inputs: Inputs) -> Tensor:
    """What an image tower makes of the pixels, boxed images or regions of the inputs, [N, D]."""
    if isinstance(tower, RegionTower):
        of_regions: Tensor = tower(inputs.required("regions", Regions))
        return of_regions
    images = inputs.required("images", Images)
    vectors: Tensor = tower.boxed(images) if isinstance(tower, GridPoolingTower) else tower(images.pixels)
    return vectors
