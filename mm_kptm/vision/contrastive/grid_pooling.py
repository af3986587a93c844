"""The towers of BriVL: boxes pooled from a feature map, tokens of a BERT, and self-attention over each.

Shapes: N images, R boxes of all images, B texts, T tokens, C channels of the map, D dim of the joint space.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mm_kptm.batch import Images, Inputs, OutputRows, SequenceLayout, Tokens, layout_of, pad
from mm_kptm.errors import UserError
from mm_kptm.nn.assembly import required_text
from mm_kptm.nn.pooling import mean
from mm_kptm.nn.ragged import self_attention_layout
from mm_kptm.nn.sublayers import bert_layer
from mm_kptm.nn.submodules import submodule
from mm_kptm.systems.encoder import TextLimits
from mm_kptm.vision.contrastive.text_towers import limits_of, refuse_facts


@dataclass(frozen=True, eq=False)
class BoxedImages(Images):
    """Images with the boxes that are read off each; a box is x1 y1 x2 y2 in pixels of the input image."""

    boxes: Tensor | None = None  #: [R, 4]; None: the grid of the system
    layout: SequenceLayout | None = None  #: boxes per image

    @classmethod
    def padded(cls, pixels: Tensor, boxes: Tensor, real: Tensor) -> BoxedImages:
        """From padded boxes [N, M, 4]; ``real`` [N, M] is false where there is none."""
        real = real.bool()
        return cls(pixels=pixels, boxes=boxes[real], layout=layout_of(real))


def grid_boxes(grid: int, size: int) -> Tensor:
    """The cells of a grid over a square of ``size`` pixels, row by row, and the whole of it, [grid^2 + 1, 4]."""
    edges = torch.arange(grid + 1, dtype=torch.float) * (size / grid)
    tops, lefts = torch.meshgrid(edges[:-1], edges[:-1], indexing="ij")
    bottoms, rights = torch.meshgrid(edges[1:], edges[1:], indexing="ij")
    cells = torch.stack([lefts, tops, rights, bottoms], dim=-1).flatten(0, 1)
    return torch.cat([cells, torch.tensor([[0.0, 0.0, size, size]])])


class BoxAttention(nn.Module):
    """Normalised rows, post-norm ReLU layers, their mean, and a two-layer perceptron.

    Args:
        dim: width of the rows.
        num_heads, num_layers, ffn_dim: of the layers.
        embed_dim: D.
        dropout: of the layers.
    """

    def __init__(
        self, dim: int, *, num_heads: int, num_layers: int, ffn_dim: int, embed_dim: int, dropout: float
    ) -> None:
        super().__init__()
        norm = partial(nn.LayerNorm, eps=1e-5)
        self.layers = nn.ModuleList(
            bert_layer(dim, num_heads, ffn_dim=ffn_dim, activation="relu", dropout=dropout, norm=norm)
            for _ in range(num_layers)
        )
        self.up_proj = nn.Linear(dim, embed_dim)
        self.out_proj = nn.Linear(embed_dim, embed_dim)

    def forward(self, rows: Tensor, layout: SequenceLayout) -> Tensor:
        """[R, dim] -> one vector per sequence, not normalised, [N, D]."""
        x, attention_layout = F.normalize(rows, dim=-1), self_attention_layout(layout)
        for layer in self.layers:
            x = layer(x, attention_layout)
        vectors: Tensor = self.out_proj(F.relu(self.up_proj(mean(x, layout))))
        return vectors


class GridPoolingTower(nn.Module):
    """Feature map, boxes sampled from it, self-attention over them (Huo et al. 2021, section 3.1).

    Args:
        backbone: from pixels to a map [N, C, height, width].
        channels: C.
        dim: width of a pooled box.
        image_size: side of the images, in whose pixels boxes are given.
        samples: points per side that a box is sampled at.
        box_grid: cells per side of the grid that is pooled where images come without boxes.
        attention: the layers behind.
    """

    def __init__(
        self,
        backbone: nn.Module,
        attention: BoxAttention,
        *,
        channels: int,
        dim: int,
        image_size: int,
        samples: int,
        box_grid: int,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.box_proj = nn.Conv2d(channels, dim, 1)
        self.attention = attention
        self.image_size = image_size
        self.samples = samples
        self.box_grid = box_grid

    def forward(self, pixels: Tensor) -> Tensor:
        """Vectors of images by the grid and the whole image, not normalised, [N, D]."""
        return self.boxed(BoxedImages(pixels))

    def boxed(self, images: Images) -> Tensor:
        """Vectors of images by their boxes, or by the grid where they have none, not normalised, [N, D].

        Raises:
            UserError: an image has no box.
        """
        boxes, layout = self._boxes(images)
        if 0 in layout.lengths:
            raise UserError(f"image {layout.lengths.index(0)} has no box; the whole image is one at least")
        maps = self.backbone(images.pixels)
        return self.attention(self._pooled(maps, boxes, layout), layout)

    def _boxes(self, images: Images) -> tuple[Tensor, SequenceLayout]:
        if isinstance(images, BoxedImages) and images.boxes is not None and images.layout is not None:
            return images.boxes, images.layout
        grid, count = grid_boxes(self.box_grid, self.image_size).to(images.pixels.device), len(images.pixels)
        return grid.repeat(count, 1), SequenceLayout((len(grid),) * count)

    def _pooled(self, maps: Tensor, boxes: Tensor, layout: SequenceLayout) -> Tensor:
        """Every box as the mean of its samples, [R, dim].

        The released code maps boxes to the interval of a grid whose corners are cell centres, but samples a grid whose
        corners are the map's; both are kept, for checkpoints were trained so.
        """
        height, width = maps.shape[2:]
        left, top, right, bottom = (boxes * height / self.image_size).unbind(-1)
        theta = boxes.new_zeros(len(boxes), 2, 3)
        theta[:, 0, 0], theta[:, 0, 2] = (right - left) / (width - 1), (left + right - width + 1) / (width - 1)
        theta[:, 1, 1], theta[:, 1, 2] = (bottom - top) / (height - 1), (top + bottom - height + 1) / (height - 1)
        shape = [len(boxes), maps.shape[1], self.samples, self.samples]
        grid = F.affine_grid(theta, shape, align_corners=False)
        sampled = F.grid_sample(maps[layout.sequence_ids(maps.device)], grid, align_corners=False)
        return self.box_proj(sampled).mean((2, 3))


class TokenAttentionTower(nn.Module):
    """BERT over the padded text, then self-attention over its real tokens (Huo et al. 2021, section 3.1).

    Args:
        encoder: a text encoder; it is run without a mask, so padding takes part, though its word gets no gradient.
        attention: the layers behind.
        length: tokens that every text is padded to.
        padding: the padding id.
    """

    def __init__(self, encoder: nn.Module, attention: BoxAttention, *, length: int, padding: int = 0) -> None:
        super().__init__()
        self.encoder = encoder
        self.attention = attention
        self.length = length
        self.padding = padding

    @property
    def limits(self) -> TextLimits:
        """What the encoder can read."""
        return limits_of(self.encoder, self.length)

    def forward(self, inputs: Inputs) -> Tensor:
        """Vectors of texts, not normalised, [B, D].

        Raises:
            UserError: a text is longer than the tower reads.
        """
        tokens = required_text(inputs)
        return self.attention(self.states(inputs), tokens.layout)

    def states(self, inputs: Inputs) -> Tensor:
        """BERT's final states of the real tokens, [T, width]."""
        tokens = required_text(inputs)
        refuse_facts(tokens)
        if max(tokens.layout.lengths) > self.length:
            raise UserError(f"a text has {max(tokens.layout.lengths)} tokens, but the text tower reads {self.length}")
        ids = pad(tokens.ids, tokens.layout, value=self.padding, length=self.length)
        words = submodule(self.encoder, "embed.text.word", nn.Embedding)(ids)
        words = torch.where((ids == self.padding)[..., None], words.detach(), words)  # as transformers' padding_idx
        filled = replace(Tokens.padded(ids, torch.ones_like(ids)), vectors=words.flatten(0, 1))
        starts = torch.arange(len(tokens.layout), device=ids.device) * self.length
        rows = starts[tokens.layout.sequence_ids(ids.device)] + tokens.layout.offsets_in_sequence(ids.device)
        states: Tensor = self.encoder(Inputs(text=filled), OutputRows({"text": rows}, pooled=False)).text
        return states
