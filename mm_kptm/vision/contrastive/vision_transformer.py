"""The vision transformer of CLIP, on the layers that texts are read with.

Shapes: N images, P patches of an image, R = N (P + 1) rows, W width, D dim of the joint space.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from mm_kptm.batch import SequenceLayout
from mm_kptm.errors import UserError
from mm_kptm.nn.attention import Attention
from mm_kptm.nn.fused import project
from mm_kptm.nn.prenorm import PreNormAttention, PreNormFeedForward
from mm_kptm.nn.ragged import self_attention_layout
from mm_kptm.nn.sublayers import Layer

ImagePooling = Literal["tok", "avg"]


class ScaledAttention(PreNormAttention):
    """Pre-norm attention whose output is scaled by a learned vector (Touvron et al. 2021, LayerScale, eq. 4)."""

    def __init__(self, attention: Attention, norm: nn.Module, initial: float) -> None:
        super().__init__(attention, norm, dropout=0.0)
        self.scale = nn.Parameter(torch.full((attention.out_proj.out_features,), initial))

    def add(self, x: Tensor, read: Tensor) -> Tensor:
        """Residual connection: x + scale * read, [Q, W]."""
        return x + self.scale * read


class ScaledFeedForward(PreNormFeedForward):
    """Pre-norm feed-forward whose output is scaled by a learned vector."""

    def __init__(self, dim: int, ffn_dim: int, norm: nn.Module, initial: float, *, activation: str) -> None:
        super().__init__(dim, ffn_dim, norm, activation=activation, dropout=0.0)
        self.scale = nn.Parameter(torch.full((dim,), initial))

    def forward(self, x: Tensor) -> Tensor:
        """[Q, W] -> [Q, W]."""
        return x + self.scale * project(self.down_proj, project(self.up_proj, self.norm(x), self.activation))


def tower_layer(
    dim: int,
    num_heads: int,
    ffn_dim: int,
    norm: Callable[[int], nn.Module],
    *,
    activation: str,
    layer_scale: float | None = None,
) -> Layer:
    """A pre-norm layer without dropout, with LayerScale where ``layer_scale`` gives its initial value."""
    attention = Attention(dim, num_heads, dropout=0.0)
    if layer_scale is None:
        return Layer(
            PreNormAttention(attention, norm(dim), dropout=0.0),
            PreNormFeedForward(dim, ffn_dim, norm(dim), activation=activation, dropout=0.0),
        )
    return Layer(
        ScaledAttention(attention, norm(dim), layer_scale),
        ScaledFeedForward(dim, ffn_dim, norm(dim), layer_scale, activation=activation),
    )


class VisionTransformer(nn.Module):
    """Patches and a class token through pre-norm layers (Radford et al. 2021, section 2.4; Dosovitskiy et al. 2021).

    Args:
        embed_dim: D.
        image_size: side of the square images.
        patch_size: side of a patch.
        width: W.
        layers: number of layers.
        head_width: width of one attention head.
        mlp_ratio: feed-forward width as a multiple of W.
        activation: of the feed-forward sublayers.
        norm_eps: of every norm.
        ls_init_value: initial value of LayerScale; None: no scale.
        no_ln_pre: leaves out the norm in front of the layers.
        final_ln_after_pool: norms the pooled vector instead of every row.
        pool_type: ``tok``: the class token; ``avg``: the mean of the patches.

    Raises:
        UserError: patches do not fill the image, or the width has no whole number of heads.
    """

    def __init__(
        self,
        embed_dim: int,
        *,
        image_size: int = 224,
        patch_size: int = 16,
        width: int = 768,
        layers: int = 12,
        head_width: int = 64,
        mlp_ratio: float = 4.0,
        activation: str = "gelu",
        norm_eps: float = 1e-5,
        ls_init_value: float | None = None,
        no_ln_pre: bool = False,
        final_ln_after_pool: bool = False,
        pool_type: ImagePooling = "tok",
    ) -> None:
        super().__init__()
        if image_size < patch_size or width % head_width:
            raise UserError(
                f"an image tower of width {width} with heads {head_width} wide reads {image_size // patch_size} x "
                f"{image_size // patch_size} patches; the width must be a multiple of head_width, and image_size not "
                "smaller than patch_size"
            )
        norm = partial(nn.LayerNorm, eps=norm_eps)
        self.image_size = image_size
        self.num_rows = (image_size // patch_size) ** 2 + 1
        self.conv1 = nn.Conv2d(3, width, patch_size, stride=patch_size, bias=False)
        self.class_embedding = nn.Parameter(width**-0.5 * torch.randn(width))
        self.positions = nn.Parameter(width**-0.5 * torch.randn(self.num_rows, width))
        self.norm_pre = nn.Identity() if no_ln_pre else norm(width)
        self.layers = nn.ModuleList(
            tower_layer(
                width,
                width // head_width,
                int(width * mlp_ratio),
                norm,
                activation=activation,
                layer_scale=ls_init_value,
            )
            for _ in range(layers)
        )
        self.norm = norm(width)
        self.projection = nn.Linear(width, embed_dim, bias=False)
        nn.init.normal_(self.projection.weight, std=width**-0.5)
        self.pool = _mean_patch if pool_type == "avg" else _class_token
        self.pool_type = pool_type
        self.final_ln_after_pool = final_ln_after_pool

    def forward(self, pixels: Tensor) -> Tensor:
        """Vectors in the joint space, not normalised: [N, 3, height, width] -> [N, D]."""
        return self.projection(self.pooled(pixels))

    def pooled(self, pixels: Tensor) -> Tensor:
        """The normed class tokens or mean patches, [N, W]; of class tokens the last layer finishes no other row."""
        if self.pool_type != "tok":
            return self.pool_rows(self.rows(pixels))
        x, layout = self._embedded(pixels)
        attention_layout = self_attention_layout(layout)
        *earlier, last = self.layers
        for layer in earlier:
            x = layer(x, attention_layout)
        return self.norm(last(x, attention_layout.restrict_queries(layout.starts(x.device))))

    def rows(self, pixels: Tensor) -> Tensor:
        """All rows after the last layer, not normed, [N, P + 1, W]."""
        x, layout = self._embedded(pixels)
        for layer in self.layers:
            x = layer(x, self_attention_layout(layout))
        return x.unflatten(0, (len(pixels), self.num_rows))

    def pool_rows(self, rows: Tensor) -> Tensor:
        """The pooled vector of the rows of every image: [N, P + 1, W] -> [N, W]."""
        if self.final_ln_after_pool:
            return self.norm(self.pool(rows))
        return self.pool(self.norm(rows))

    def _embedded(self, pixels: Tensor) -> tuple[Tensor, SequenceLayout]:
        if pixels.shape[1:] != (3, self.image_size, self.image_size):
            raise UserError(
                f"pictures of shape {list(pixels.shape[1:])} were given, but the image tower reads "
                f"[3, {self.image_size}, {self.image_size}]; prepare them with system.encoder.prepare_images"
            )
        patches = self.conv1(pixels).flatten(2).transpose(1, 2)  # [N, P, W]
        tokens = self.class_embedding.expand(len(pixels), 1, -1)
        x = self.norm_pre(torch.cat([tokens, patches], dim=1) + self.positions)
        return x.flatten(0, 1), SequenceLayout((self.num_rows,) * len(pixels))


def _class_token(rows: Tensor) -> Tensor:
    return rows[:, 0]


def _mean_patch(rows: Tensor) -> Tensor:
    return rows[:, 1:].mean(1)
