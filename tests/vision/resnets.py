"""A bottleneck ResNet in plain functions, and checkpoints of it at random weights, to compare with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

State = dict[str, Tensor]


def random_norm(name: str, channels: int, generator: torch.Generator) -> State:
    drawn = torch.rand(4, channels, generator=generator)
    values = (0.5 + drawn[0], drawn[1] - 0.5, drawn[2] - 0.5, 0.5 + drawn[3])
    kinds = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{kind}": value for kind, value in zip(kinds, values, strict=True)}


def random_stage(name: str, channels: int, planes: int, blocks: int, generator: torch.Generator) -> State:
    state: State = {}
    for block in range(blocks):
        sides = ((planes, channels, 1), (planes, planes, 3), (4 * planes, planes, 1))
        for k, (out, into, side) in enumerate(sides, start=1):
            weight = torch.randn(out, into, side, side, generator=generator) / (into * side * side) ** 0.5
            state |= {f"{name}.{block}.conv{k}.weight": weight}
            state |= random_norm(f"{name}.{block}.bn{k}", out, generator)
        if block == 0:
            weight = torch.randn(4 * planes, channels, 1, 1, generator=generator) / channels**0.5
            state |= {f"{name}.0.downsample.0.weight": weight}
            state |= random_norm(f"{name}.0.downsample.1", 4 * planes, generator)
        channels = 4 * planes
    return state


def random_resnet(width: int, blocks: Sequence[int], generator: torch.Generator, layer: str = "layer") -> State:
    """The state of a stem and stages, by torchvision's names."""
    state = {"conv1.weight": torch.randn(width, 3, 7, 7, generator=generator) / 12}
    state |= random_norm("bn1", width, generator)
    channels = width
    for number, count in enumerate(blocks):
        planes = width * 2**number
        state |= random_stage(f"{layer}{number + 1}", channels, planes, count, generator)
        channels = 4 * planes
    return state


def norm(state: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    mean, var, weight, bias = (state[f"{name}.{kind}"] for kind in ("running_mean", "running_var", "weight", "bias"))
    return F.batch_norm(x, mean, var, weight, bias, eps=1e-5)


def stage(state: Mapping[str, Tensor], name: str, x: Tensor, *, stride: int = 1, dilation: int = 1) -> Tensor:
    """Residual blocks whose stride is that of their first 1x1 convolution."""
    blocks = sum(key.startswith(f"{name}.") and key.endswith(".conv1.weight") for key in state)
    for block in range(blocks):
        here, step = f"{name}.{block}", stride if block == 0 else 1
        y = F.conv2d(x, state[f"{here}.conv1.weight"], stride=step)
        y = F.relu(norm(state, f"{here}.bn1", y))
        y = F.conv2d(y, state[f"{here}.conv2.weight"], padding=dilation, dilation=dilation)
        y = F.relu(norm(state, f"{here}.bn2", y))
        y = norm(state, f"{here}.bn3", F.conv2d(y, state[f"{here}.conv3.weight"]))
        if block == 0:
            x = norm(state, f"{here}.downsample.1", F.conv2d(x, state[f"{here}.downsample.0.weight"], stride=step))
        x = F.relu(x + y)
    return x


def resnet(state: Mapping[str, Tensor], x: Tensor, stages: int, layer: str = "layer") -> Tensor:
    x = F.relu(norm(state, "bn1", F.conv2d(x, state["conv1.weight"], stride=2, padding=3)))
    x = F.max_pool2d(x, 3, stride=2, padding=1)
    for number in range(stages):
        x = stage(state, f"{layer}{number + 1}", x, stride=1 if number == 0 else 2)
    return x


def aligned_crop(cells: Tensor, box: Sequence[float], side: int = 14, scale: float = 1 / 16) -> Tensor:
    """RoIAlign with one bilinear sample in the middle of each cell of the crop, [C, H, W] -> [C, side, side]."""
    left, top, right, bottom = (corner * scale for corner in box)
    width, height = max(right - left, 1.0), max(bottom - top, 1.0)
    crop = cells.new_zeros(cells.shape[0], side, side)
    for i in range(side):
        for j in range(side):
            y, x = top + (i + 0.5) * height / side, left + (j + 0.5) * width / side
            if not (-1 <= y <= cells.shape[1] and -1 <= x <= cells.shape[2]):
                continue
            y, x = min(max(y, 0.0), cells.shape[1] - 1), min(max(x, 0.0), cells.shape[2] - 1)
            low, near = int(y), int(x)
            high, far = min(low + 1, cells.shape[1] - 1), min(near + 1, cells.shape[2] - 1)
            v, u = y - low, x - near
            crop[:, i, j] = (1 - v) * ((1 - u) * cells[:, low, near] + u * cells[:, low, far])
            crop[:, i, j] += v * ((1 - u) * cells[:, high, near] + u * cells[:, high, far])
    return crop
