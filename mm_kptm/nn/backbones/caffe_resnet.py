"""Residual networks in the form of Caffe's weights: pixels in BGR on 0..255, strides in 1x1 convolutions.

Shapes: B pictures of h x w pixels, H x W cells, F features of a cell.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self, cast

import torch
from torch import Tensor, nn

from mm_kptm.errors import UserError
from mm_kptm.nn.backbones.backbone import Backbone, ImageFormat, with_frozen_norms

#: Residual blocks of each stage, by number of layers (He et al. 2016, table 1).
BLOCKS: Mapping[int, tuple[int, int, int, int]] = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
WIDTH = 64  #: channels of the stem as published
#: BGR means on 0..255 of the ImageNet images that Caffe's networks were trained on.
CAFFE_MEANS = (102.9801, 115.9465, 122.7717)
_DETECTRON_MEANS = (103.53, 116.28, 123.675)  #: the same, as detectron2 has them


def check_layers(layers: int) -> None:
    """Reject depths without bottleneck blocks.

    Raises:
        UserError: it is none of 50, 101 and 152.
    """
    if layers not in BLOCKS:
        raise UserError(
            f"a ResNet of {layers} layers was asked for, but those with bottleneck blocks have "
            f"{', '.join(map(str, BLOCKS))}"
        )


def residual_stage(
    channels: int, planes: int, blocks: int, *, stride: int = 1, dilation: int = 1, stride_in_1x1: bool = True
) -> nn.Sequential:
    """Bottleneck blocks, from ``channels`` to 4 x ``planes``.

    Args:
        channels: of the input.
        planes: inner channels of a block.
        blocks: number of blocks.
        stride: of the first block.
        dilation: of the 3x3 convolutions of all blocks.
        stride_in_1x1: whether the stride is that of the first 1x1 convolution, not of the 3x3 one (torchvision).
    """
    from torchvision.models.resnet import Bottleneck

    shortcut = nn.Sequential(nn.Conv2d(channels, 4 * planes, 1, stride=stride, bias=False), nn.BatchNorm2d(4 * planes))
    first = Bottleneck(channels, planes, stride, shortcut, dilation=dilation)
    if stride_in_1x1:
        first.conv1.stride, first.conv2.stride = (stride, stride), (1, 1)
    return nn.Sequential(first, *(Bottleneck(4 * planes, planes, dilation=dilation) for _ in range(blocks - 1)))


class CaffeResNet(nn.Module):
    """Stem and stages of a ResNet with bottleneck blocks; torchvision's names.

    Args:
        layers: 50, 101 or 152.
        width: channels of the stem, of which all others are multiples.
        stages: of the four; with three of them a cell is 16 pixels wide, with four 32.
        stride_in_1x1: as in :func:`residual_stage`.

    Raises:
        UserError: there is no such depth.
    """

    def __init__(self, layers: int = 50, *, width: int = WIDTH, stages: int = 4, stride_in_1x1: bool = True) -> None:
        super().__init__()
        check_layers(layers)
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        channels, self.stages = width, stages
        for number, blocks in enumerate(BLOCKS[layers][:stages]):
            planes, stride = width * 2**number, 1 if number == 0 else 2
            stage = residual_stage(channels, planes, blocks, stride=stride, stride_in_1x1=stride_in_1x1)
            setattr(self, f"layer{number + 1}", stage)
            channels = 4 * planes
        self.channels = channels  #: F

    def forward(self, pixels: Tensor) -> Tensor:
        """The map of the last stage, BGR [B, 3, h, w] -> [B, F, H, W]."""
        cells: Tensor = self.maxpool(self.relu(self.bn1(self.conv1(pixels))))
        for number in range(self.stages):
            cells = cast(nn.Sequential, getattr(self, f"layer{number + 1}"))(cells)
        return cells

    def freeze(self, parts: int) -> None:
        """Exclude the first ``parts`` from training: the stem, then its stages."""
        stem: list[list[nn.Module]] = [[self.conv1, self.bn1]]
        stages = [[cast(nn.Module, getattr(self, f"layer{number + 1}"))] for number in range(self.stages)]
        for frozen in (stem + stages)[:parts]:
            for module in frozen:
                module.requires_grad_(False)


class CaffeBackbone(Backbone):
    """ResNet in the form of Caffe's and detectron2's weights: BGR on 0..255, strides in 1x1 convolutions.

    Args:
        layers: 50, 101 or 152.
        width: channels of the stem.
        size: side of the pictures in pixels, or their short side.
        trainable: as in :class:`~mm_kptm.nn.backbones.timm_backbone.TimmBackbone`.
        freeze_batch_norm: as in :class:`~mm_kptm.nn.backbones.timm_backbone.TimmBackbone`.

    Raises:
        UserError: there is no such depth.
    """

    def __init__(
        self,
        layers: int = 50,
        *,
        width: int = WIDTH,
        size: int = 600,
        trainable: bool = True,
        freeze_batch_norm: bool = False,
    ) -> None:
        super().__init__()
        self.model = CaffeResNet(layers, width=width)
        initialise(self.model)
        self.dim = self.pooled_dim = self.model.channels
        self.stride, self.any_size = 32, True
        mean, std = rgb_format(_DETECTRON_MEANS)
        self.image_format = ImageFormat(size, mean, std, "bilinear")
        self.trainable, self.freeze_batch_norm = trainable, freeze_batch_norm
        self.requires_grad_(trainable)
        self.train()

    def forward(self, pixels: Tensor) -> Tensor:
        """The last feature map, RGB [B, 3, h, w] -> [B, H, W, F]."""
        with torch.set_grad_enabled(self.trainable and torch.is_grad_enabled()):
            cells: Tensor = self.model(pixels.flip(1))
        return cells.permute(0, 2, 3, 1)

    def train(self, mode: bool = True) -> Self:
        """Set the training mode of what is trained; norms with frozen statistics stay in evaluation mode."""
        super().train(mode and self.trainable)
        return with_frozen_norms(self) if self.freeze_batch_norm else self


def initialise(module: nn.Module) -> None:
    """He et al. (2015, equation 10) for convolutions; the last norm of a block begins small to keep sums bounded."""
    from torchvision.models.resnet import Bottleneck

    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(part, Bottleneck):
            nn.init.constant_(part.bn3.weight, 0.2)


def rgb_format(means: tuple[float, float, float]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of RGB on 0..1 that equal the subtraction of BGR ``means`` on 0..255.

    >>> mean, std = rgb_format((102.0, 127.5, 255.0))
    >>> mean, round(255 * std[0], 6)
    ((1.0, 0.5, 0.4), 1.0)
    """
    return tuple(mean / 255 for mean in reversed(means)), (1 / 255,) * 3


def depth_of(blocks: int) -> int | None:
    """The number of layers of a network with this number of blocks in its third stage; None: no published one."""
    return next((layers for layers, counts in BLOCKS.items() if counts[2] == blocks), None)
