"""Bottom-up attention detector: Faster R-CNN on ResNet-101 up to res4, with res5 on 14 x 14 crops.

Anderson et al. 2018, section 3.1, as in the released Caffe network. torchvision's ResNet differs in three details,
which are changed here: the stride is in the first convolution of a stage, the max-pool has a partial last window
instead of padding, and res5 is dilated instead of strided.

Shapes: P proposals, K selected regions, C classes with background as column 0, A attributes with "none" as column 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck, ResNet
from torchvision.ops import FrozenBatchNorm2d, roi_pool

from mm_kptm.nn.backbones.caffe_resnet import CAFFE_MEANS
from mm_kptm.vision.extractors.extractor import Picture
from mm_kptm.vision.extractors.proposals import ProposalRule, propose
from mm_kptm.vision.extractors.resizing import ShortSide, caffe_input
from mm_kptm.vision.extractors.selection import SelectionRule, best_class, select, surviving_confidences
from mm_kptm.vision.features.contract import FeatureContract
from mm_kptm.vision.features.detections import Detections

DIM = 2048  #: feature size: spatial mean of res5
CROP = 14  #: side of the crop of a region, in cells


@dataclass(frozen=True)
class BottomUpInput:
    """Preprocessing of the Caffe network: BGR, means subtracted, then resized."""

    resize: ShortSide = field(default_factory=ShortSide)

    def __call__(self, picture: NDArray[np.uint8]) -> Tensor:
        """Prepare an image, RGB [H, W, 3] -> BGR [3, h, w]."""
        return caffe_input(picture[:, :, ::-1], self.resize, CAFFE_MEANS)[0]


class BottomUpDetector(nn.Module):
    """Detector of regions with classes and attributes, by the rules of the release.

    Args:
        num_classes: without the background.
        num_attributes: without "none".
        blocks: residual blocks of each stage; (3, 4, 23, 3) is a ResNet-101.
        resize: rule for the input size.
        selection: rule that selects regions among proposals.
        proposals: hyperparameters of the proposal layer.
    """

    def __init__(
        self,
        num_classes: int = 1600,
        num_attributes: int = 400,
        *,
        blocks: Sequence[int] = (3, 4, 23, 3),
        resize: ShortSide | None = None,
        selection: SelectionRule | None = None,
        proposals: ProposalRule | None = None,
    ) -> None:
        super().__init__()
        self.selection, self.proposals = selection or SelectionRule(), proposals or ProposalRule()
        self.prepare = BottomUpInput(resize or ShortSide())
        self.backbone, self.res5 = _caffe_resnet(blocks)
        count = len(self.proposals.scales) * len(self.proposals.ratios)
        self.rpn = nn.Conv2d(1024, 512, 3, padding=1)
        self.rpn_scores = nn.Conv2d(512, 2 * count, 1)  # background of every anchor, then foreground
        self.rpn_deltas = nn.Conv2d(512, 4 * count, 1)
        self.classes = nn.Linear(DIM, num_classes + 1)
        self.class_embedding = nn.Embedding(num_classes + 1, 256)
        self.attribute_hidden = nn.Linear(DIM + 256, 512)
        self.attributes = nn.Linear(512, num_attributes + 1)
        self._begin()
        self.contract = FeatureContract(
            extractor="bottom-up",
            colour_order="bgr",
            means=CAFFE_MEANS,
            value_range=255,
            resize=f"means first, short side {self.prepare.resize.short}, long side at most {self.prepare.resize.long}",
            boxes="proposals",
            nms=f"class-wise {self.selection.nms:g}, confidence {self.selection.threshold:g}, inclusive pixels",
            min_boxes=self.selection.min_boxes,
            max_boxes=self.selection.max_boxes,
            dim=DIM,
            dtype="float16",
            num_classes=num_classes,
            background="first",
            num_attributes=num_attributes,
        )

    def _begin(self) -> None:
        """Initialise the heads (Ren et al. 2015, section 3.3) and scale frozen norms to keep residual sums bounded."""
        heads = (self.rpn, self.rpn_scores, self.rpn_deltas, self.classes, self.attribute_hidden, self.attributes)
        for layer in heads:
            spread = 0.001 if layer is self.rpn_deltas else 0.01
            nn.init.normal_(layer.weight, std=spread)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        for block in (module for module in self.modules() if isinstance(module, Bottleneck)):
            block.bn3.weight.fill_(0.1)

    @torch.no_grad()
    def extract(self, pictures: Sequence[Picture]) -> list[Detections]:
        """Regions of each image, processed one by one because sizes differ."""
        return [self.detect(picture) for picture in pictures]

    def detect(self, picture: Picture) -> Detections:
        """Regions of one image; boxes in pixels of the original."""
        image = picture.prepared.to(self.rpn.weight.device)
        # the input size is rounded, the scale is not
        scale = self.prepare.resize.scale(picture.size[1], picture.size[0])
        cells = self.backbone(image[None])
        hidden = self.rpn(cells).relu()
        foreground = self.rpn_scores(hidden).unflatten(1, (2, -1)).softmax(dim=1)[0, 1]
        size = (float(image.shape[1]), float(image.shape[2]))
        rois, _ = propose(foreground, self.rpn_deltas(hidden)[0], size, scale, self.proposals)
        features = self.pool(cells, rois)
        class_probs = self.classes(features).softmax(dim=1)  # [P, C]
        boxes = rois / scale
        confidences = surviving_confidences(boxes, class_probs, self.selection.nms)
        selected = select(confidences, self.selection)
        attribute_probs = self.describe(features[selected], class_probs[selected])
        ids, id_confidences = best_class(class_probs[selected])
        attribute_ids, attribute_confidences = best_class(attribute_probs)
        return Detections(
            picture.name,
            features[selected].cpu().numpy(),
            boxes[selected].cpu().numpy(),
            picture.size,
            class_probs=class_probs[selected].cpu().numpy(),
            object_ids=ids.cpu().numpy(),
            object_confidences=id_confidences.cpu().numpy(),
            attribute_probs=attribute_probs.cpu().numpy(),
            attribute_ids=attribute_ids.cpu().numpy(),
            attribute_confidences=attribute_confidences.cpu().numpy(),
            confidences=confidences[selected].cpu().numpy(),
        )

    def pool(self, cells: Tensor, rois: Tensor) -> Tensor:
        """Mean-pool res5 over the crop of each region, [P, 2048]; cells [1, 1024, h, w], rois [P, 4] in pixels."""
        numbered = torch.cat([rois.new_zeros(len(rois), 1), rois], dim=1)
        crops = roi_pool(cells, numbered, CROP, 1 / self.proposals.stride)
        return (
            torch.cat([self.res5(part).mean(dim=(2, 3)) for part in crops.split(64)])
            if len(rois)
            else rois.new_zeros(0, DIM)
        )

    def describe(self, features: Tensor, class_probs: Tensor) -> Tensor:
        """Attribute distribution of each region, [K, A], from its feature and best class (background included)."""
        best = self.class_embedding(class_probs.argmax(dim=1))
        hidden = self.attribute_hidden(torch.cat([features, best], dim=1)).relu()
        return self.attributes(hidden).softmax(dim=1)


def _caffe_resnet(blocks: Sequence[int]) -> tuple[nn.Module, nn.Module]:
    """ResNet trunk up to res4, and res5."""
    resnet = ResNet(Bottleneck, list(blocks), norm_layer=FrozenBatchNorm2d)
    resnet.maxpool = nn.MaxPool2d(3, 2, padding=0, ceil_mode=True)
    for stage in (resnet.layer2, resnet.layer3):
        stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)
    for block in resnet.layer4:
        block.conv2.stride, block.conv2.dilation, block.conv2.padding = (1, 1), (2, 2), (2, 2)
    resnet.layer4[0].downsample[0].stride = (1, 1)
    stem = (resnet.conv1, resnet.bn1, resnet.relu, resnet.maxpool)
    return nn.Sequential(*stem, resnet.layer1, resnet.layer2, resnet.layer3), resnet.layer4
