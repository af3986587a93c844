"""Features of given boxes, computed from pixels inside the model (Fast R-CNN).

Shapes: B images of h x w pixels, R regions, F features of a region.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Self, cast

import torch
from torch import Tensor, nn

from mm_kptm.batch import Images, Inputs, Regions, SequenceLayout
from mm_kptm.data.images.resizing import ImageResize
from mm_kptm.errors import UserError
from mm_kptm.nn.backbones import ImageFormat
from mm_kptm.nn.backbones.backbone import with_frozen_norms
from mm_kptm.nn.backbones.caffe_resnet import CAFFE_MEANS, WIDTH, CaffeResNet, initialise, residual_stage, rgb_format
from mm_kptm.systems.packaged.weights import weights_of
from mm_kptm.vision.modules.pixels import PixelFormat

CROP = 14  #: cells of the crop of a region, along each side
STRIDE = 16  #: side of a cell of the map that crops are taken of, in pixels

#: RGB pictures as the network reads them: BGR on 0..255 minus the means, once their colours are turned round inside.
ROI_FORMAT = ImageFormat(600, *rgb_format(CAFFE_MEANS), "bilinear")
#: The short side gets 600 pixels, unless the long side would exceed 1000.
ROI_RESIZE = ImageResize(600, longest=1000, interpolation="bilinear")


def roi_format(size: int | None = None, longest: int | None = None) -> PixelFormat:
    """How pictures become pixels beside given boxes.

    Args:
        size: of the short side in pixels; None: 600, as published.
        longest: of the long side; None: 1000, or 5/3 of another ``size``.
    """
    if size is not None and longest is None:
        longest = size * 5 // 3
    resize = replace(ROI_RESIZE, size=size or ROI_RESIZE.size, longest=longest or ROI_RESIZE.longest)
    return PixelFormat(resize, replace(ROI_FORMAT, size=resize.size), None, 32 * WIDTH)


class RoiRegions(nn.Module):
    """Frontend that computes the features of given boxes from pixels (Girshick 2015; Su et al. 2020, section 4.1).

    The stages up to res4 make a map of the picture, RoIAlign (one sample a cell, without the offset of half a pixel)
    takes a crop of 14 x 14 cells for each box, and res5 with a mean makes the feature of it. The whole image is one
    more box, whose right and lower edge are one pixel inside the picture; its feature becomes ``whole_image`` of the
    regions. Where regions have ``object_masks``, cells of res5 count in the mean as far as they show the object, as in
    VCR (released code). Pixels inside the boxes of masked regions are zero before anything is read, so that no other
    region can show them (the released ``MASK_RAW_PIXELS``).

    Args:
        layers: 50, 101 or 152.
        width: channels of the stem; F is 32 times that.
        stride_in_1x1: whether strides are those of 1x1 convolutions.
        dilated: whether res5 keeps its crops of 14 x 14, with dilated convolutions; otherwise it halves them.
        trainable: whether it is trained.
        frozen: parts that are not trained all the same: the stem, then the stages after it.
        freeze_batch_norm: whether BatchNorm keeps weights and statistics.

    Raises:
        UserError: there is no such depth.
    """

    def __init__(
        self,
        *,
        layers: int = 101,
        width: int = WIDTH,
        stride_in_1x1: bool = True,
        dilated: bool = True,
        trainable: bool = True,
        frozen: int = 2,
        freeze_batch_norm: bool = True,
    ) -> None:
        super().__init__()
        self.body = CaffeResNet(layers, width=width, stages=3, stride_in_1x1=stride_in_1x1)
        self.res5 = residual_stage(
            self.body.channels,
            8 * width,
            3,
            stride=1 if dilated else 2,
            dilation=2 if dilated else 1,
            stride_in_1x1=stride_in_1x1,
        )
        self.dim = 32 * width
        self.trainable, self.freeze_batch_norm = trainable, freeze_batch_norm
        initialise(self)
        self.requires_grad_(trainable)
        self.body.freeze(frozen)
        if freeze_batch_norm:
            for part in self.modules():
                if isinstance(part, nn.BatchNorm2d):
                    part.requires_grad_(False)
        self.train()

    def load(self, weights: Path) -> None:
        """Fill the network with a file of a ResNet by torchvision's names in Caffe's form, res5 with its last stage.

        Raises:
            UserError: no such file, or the weights of another network; the names that differ are listed.
        """
        found = weights_of(weights)
        named = {_ours(name): value for name, value in found.items() if not name.startswith("fc.")}
        expected = cast("dict[str, Tensor]", self.state_dict())
        missing = sorted(name for name in expected.keys() - named.keys() if not name.endswith("num_batches_tracked"))
        other = sorted(
            name for name in named.keys() - expected.keys() if not name.endswith("num_batches_tracked")
        ) + sorted(name for name in named.keys() & expected.keys() if named[name].shape != expected[name].shape)
        if missing or other:
            problems = [f"lacks {', '.join(missing[:3])}"] if missing else []
            problems += [f"has {', '.join(other[:3])} besides, or in another shape"] if other else []
            raise UserError(f"{weights} are not the weights of this ResNet: it {' and '.join(problems)}")
        self.load_state_dict(named, strict=False)

    def train(self, mode: bool = True) -> Self:
        """Set the training mode of what is trained; norms with frozen statistics stay in evaluation mode."""
        super().train(mode and self.trainable)
        return with_frozen_norms(self) if self.freeze_batch_norm else self

    def forward(self, inputs: Inputs) -> Inputs:
        """The inputs with the features of every region, and of whole images; inputs without images stay.

        Without regions beside the images, whole images are all that is seen.

        Raises:
            UserError: the regions are of other images, or their masks have other cells than res5.
        """
        images = inputs.images
        if images is None:
            return inputs
        regions = inputs.regions
        if regions is None:
            empty = images.pixels.new_zeros(0, 4)
            regions = Regions(empty, empty, SequenceLayout((0,) * images.num_sequences))
        if len(regions.layout) != images.num_sequences:
            raise UserError(
                f"there are pixels of {images.num_sequences} images, but boxes of {len(regions.layout)}; give every "
                "image its boxes"
            )
        features, whole = self._features(images, regions)
        found = replace(regions, features=features, whole_image=whole, object_masks=None)
        return inputs.with_streams(regions=found, images=None)

    def _features(self, images: Images, regions: Regions) -> tuple[Tensor, Tensor]:
        """The features of the regions, [R, F], and of whole images, [B, F]."""
        boxes = list(regions.layout.split(regions.boxes))
        masked = None if regions.masked is None else list(regions.layout.split(regions.masked))
        cut = None if regions.object_masks is None else list(regions.layout.split(regions.object_masks))
        of_regions: dict[int, Tensor] = {}
        of_images: dict[int, Tensor] = {}
        for numbers, pixels in images.by_size():
            size = pixels.new_tensor([pixels.shape[3], pixels.shape[2]]).repeat(2)  # w, h, w, h
            placed = [boxes[number].to(pixels) * size for number in numbers]
            if masked is not None:
                shown = zip(pixels, placed, (masked[number] for number in numbers), strict=True)
                pixels = torch.stack([_covered(*one) for one in shown])
            frame = torch.cat([size[:2] * 0, size[2:] - 1])[None]
            shapes = None
            if cut is not None:
                whole = [cut[number].new_ones(1, *cut[number].shape[1:]) for number in numbers]
                shapes = torch.cat([one for pair in zip(whole, (cut[n] for n in numbers), strict=True) for one in pair])
            found = self._crops(pixels, [torch.cat([frame, corners]) for corners in placed], shapes)
            for number, vectors in zip(numbers, found, strict=True):
                of_images[number], of_regions[number] = vectors[0], vectors[1:]
        order = range(images.num_sequences)
        if not order:
            return images.pixels.new_zeros(0, self.dim), images.pixels.new_zeros(0, self.dim)
        return torch.cat([of_regions[number] for number in order]), torch.stack([of_images[number] for number in order])

    def _crops(self, pixels: Tensor, boxes: list[Tensor], shapes: Tensor | None) -> tuple[Tensor, ...]:
        """The features of boxes in pixels, of every picture of one size; ``shapes`` weighs the cells of each crop."""
        from torchvision.ops import roi_align

        with torch.set_grad_enabled(self.trainable and torch.is_grad_enabled()):
            cells = self.body(pixels.flip(1))
            crops = roi_align(cells, boxes, CROP, 1 / STRIDE, sampling_ratio=1, aligned=False)
            parts: Tensor = self.res5(crops)
            if shapes is not None:
                if shapes.shape[1:] != parts.shape[2:]:
                    raise UserError(
                        f"masks of objects have {shapes.shape[1]} x {shapes.shape[2]} cells, but crops have "
                        f"{parts.shape[2]} x {parts.shape[3]}"
                    )
                parts = parts * shapes[:, None]
            features = parts.mean((2, 3))
        return features.split([len(corners) for corners in boxes])


def _ours(name: str) -> str:
    """Our name of a tensor by its name in torchvision."""
    return f"res5.{name.removeprefix('layer4.')}" if name.startswith("layer4.") else f"body.{name}"


def _covered(pixels: Tensor, boxes: Tensor, masked: Tensor) -> Tensor:
    """A picture with zeros in the boxes of masked regions, from the first to the last pixel that a box touches."""
    if not bool(masked.any()):
        return pixels
    shown = pixels.clone()
    for left, top, right, bottom in boxes[masked].long().tolist():
        shown[:, top : bottom + 1, left : right + 1] = 0
    return shown
