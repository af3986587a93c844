"""EfficientNet (Tan and Le 2019) with the padding of the published ALIGN weights, which timm's class does not have.

Shapes: N images, C channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from mm_kptm.errors import UserError

#: Of the running statistics; published configurations give 0.99, the share of the old value, as TensorFlow counts it.
MOMENTUM = 0.01


def rounded(channels: float, divisor: int) -> int:
    """Scaled channels rounded to a multiple of ``divisor``, by at most a tenth downwards.

    >>> rounded(32 * 2.0, 8), rounded(24 * 0.25, 4), rounded(11, 8)
    (64, 8, 16)
    """
    whole = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return whole + divisor if whole < 0.9 * channels else whole


class NormedConv(nn.Sequential):
    """Convolution without bias, batch norm, SiLU; a stride of 2 pads the right and the bottom first."""

    def __init__(
        self,
        channels: int,
        width: int,
        kernel: int,
        *,
        stride: int = 1,
        groups: int = 1,
        eps: float = 1e-3,
        active: bool = True,
        shifted: bool = True,
    ) -> None:
        half = kernel // 2
        before = half - 1 if shifted else half
        parts: list[nn.Module] = [nn.ZeroPad2d((before, half, before, half) if stride == 2 else 0)]
        padding = 0 if stride == 2 else half
        parts.append(nn.Conv2d(channels, width, kernel, stride=stride, padding=padding, groups=groups, bias=False))
        parts.append(nn.BatchNorm2d(width, eps=eps, momentum=MOMENTUM))
        super().__init__(*parts, *([nn.SiLU()] if active else []))


class SqueezeExcite(nn.Module):
    """Channels weighted by a gate that reads their means (Hu et al. 2018, section 3)."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.expand = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, height, width] -> the same."""
        gate = self.expand(nn.functional.silu(self.reduce(x.mean((2, 3), keepdim=True))))
        gated: Tensor = x * gate.sigmoid()
        return gated


class InvertedBottleneck(nn.Module):
    """Expansion, depthwise convolution, squeeze and excitation, projection (Sandler et al. 2018, figure 4)."""

    def __init__(
        self,
        channels: int,
        width: int,
        kernel: int,
        *,
        stride: int,
        expansion: int,
        squeeze_ratio: float,
        eps: float,
        residual: bool,
        shifted: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        inner = channels * expansion
        self.expansion = nn.Identity() if expansion == 1 else NormedConv(channels, inner, 1, eps=eps)
        self.depthwise = NormedConv(inner, inner, kernel, stride=stride, groups=inner, eps=eps, shifted=shifted)
        self.squeeze_excite = SqueezeExcite(inner, max(1, int(channels * squeeze_ratio)))
        self.projection = NormedConv(inner, width, 1, eps=eps, active=False)
        self.drop = nn.Dropout(dropout)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, height, width] -> [N, width, ...]."""
        read: Tensor = self.projection(self.squeeze_excite(self.depthwise(self.expansion(x))))
        return self.drop(read) + x if self.residual else read


class EfficientNet(nn.Module):
    """A stem and stages of inverted bottlenecks, scaled in width and depth (Tan and Le 2019, table 1).

    Args:
        width_coefficient, depth_coefficient: the scaling; the defaults are B7's.
        depth_divisor: channels are multiples of it.
        in_channels, out_channels, kernel_sizes, strides, expand_ratios, num_block_repeats: of the stages.
        depthwise_padding: numbers of the blocks whose stride pads all four sides.
        squeeze_expansion_ratio: of the gates, of a block's input channels.
        batch_norm_eps: of all norms.
        drop_connect_rate: dropout of the last residual; earlier ones have less.

    Raises:
        UserError: the stages are not described by lists of one length.
    """

    def __init__(
        self,
        *,
        width_coefficient: float = 2.0,
        depth_coefficient: float = 3.1,
        depth_divisor: int = 8,
        in_channels: Sequence[int] = (32, 16, 24, 40, 80, 112, 192),
        out_channels: Sequence[int] = (16, 24, 40, 80, 112, 192, 320),
        kernel_sizes: Sequence[int] = (3, 3, 5, 3, 5, 5, 3),
        strides: Sequence[int] = (1, 2, 2, 2, 1, 2, 1),
        expand_ratios: Sequence[int] = (1, 6, 6, 6, 6, 6, 6),
        num_block_repeats: Sequence[int] = (1, 2, 2, 3, 3, 4, 1),
        depthwise_padding: Sequence[int] = (),
        squeeze_expansion_ratio: float = 0.25,
        batch_norm_eps: float = 1e-3,
        drop_connect_rate: float = 0.2,
    ) -> None:
        super().__init__()
        stages = [in_channels, out_channels, kernel_sizes, strides, expand_ratios, num_block_repeats]
        if len({len(one) for one in stages}) != 1:
            raise UserError(f"the stages of an EfficientNet are described by lists of {[len(one) for one in stages]}")
        repeats = [math.ceil(depth_coefficient * count) for count in num_block_repeats]
        self.stem = NormedConv(3, rounded(32 * width_coefficient, depth_divisor), 3, stride=2, eps=batch_norm_eps)
        blocks: list[nn.Module] = []
        for begin, end, kernel, stride, expansion, count in zip(*stages[:-1], repeats, strict=True):
            narrow, wide = (rounded(one * width_coefficient, depth_divisor) for one in (begin, end))
            for place in range(count):
                step = stride if place == 0 else 1
                blocks.append(
                    InvertedBottleneck(
                        narrow if place == 0 else wide,
                        wide,
                        kernel,
                        stride=step,
                        expansion=expansion,
                        squeeze_ratio=squeeze_expansion_ratio,
                        eps=batch_norm_eps,
                        residual=place > 0 and step == 1,
                        shifted=len(blocks) not in depthwise_padding,
                        dropout=drop_connect_rate * len(blocks) / sum(repeats),
                    )
                )
        self.blocks = nn.ModuleList(blocks)
        self.dim = rounded(out_channels[-1] * width_coefficient, depth_divisor)

    def feature_map(self, pixels: Tensor) -> Tensor:
        """The map of the last block, [N, dim, height, width]."""
        x: Tensor = self.stem(pixels)
        for block in self.blocks:
            x = block(x)
        return x

    def forward(self, pixels: Tensor) -> Tensor:
        """The mean over the map, [N, dim]."""
        return self.feature_map(pixels).mean((2, 3))
