"""Image tower over regions: their features and boxes through a few Transformer layers, and their mean.

Shapes: N images, R regions of all images, F features of a region, W width, D dim of the joint space.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from mm_kptm.batch import Regions
from mm_kptm.nn.pooling import mean
from mm_kptm.nn.ragged import self_attention_layout
from mm_kptm.vision.contrastive.vision_transformer import tower_layer


class RegionTower(nn.Module):
    """Regions as a set: a linear layer over features and box, pre-norm layers, mean, projection.

    Args:
        region_dim: F.
        embed_dim: D.
        width: W.
        layers: number of layers.
        heads: number of attention heads.
        mlp_ratio: feed-forward width as a multiple of W.
    """

    def __init__(
        self,
        region_dim: int,
        embed_dim: int,
        *,
        width: int = 768,
        layers: int = 4,
        heads: int = 12,
        mlp_ratio: float = 4.0,
    ) -> None:
        super().__init__()
        norm = partial(nn.LayerNorm, eps=1e-5)
        self.features = nn.Linear(region_dim, width)
        self.boxes = nn.Linear(4, width)
        self.layers = nn.ModuleList(
            tower_layer(width, heads, int(width * mlp_ratio), norm, activation="gelu") for _ in range(layers)
        )
        self.norm = norm(width)
        self.projection = nn.Linear(width, embed_dim, bias=False)

    def forward(self, regions: Regions) -> Tensor:
        """Vectors of images in the joint space, not normalised, [N, D]."""
        regions = regions.widened(self.features.weight.dtype)
        x = self.features(regions.features) + self.boxes(regions.boxes)
        attention_layout = self_attention_layout(regions.layout)
        for layer in self.layers:
            x = layer(x, attention_layout)
        pooled: Tensor = self.projection(mean(self.norm(x), regions.layout))
        return pooled
