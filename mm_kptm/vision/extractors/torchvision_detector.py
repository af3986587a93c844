"""Any Faster or Mask R-CNN of torchvision as an extractor, with the bottom-up selection of regions.

Boxes are the unregressed proposals, as in :mod:`.selection`; features are the last hidden layer of the box head, fc7.

Shapes: P proposals, C classes with the background as column 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FasterRCNN

from mm_kptm.errors import UserError, nearest
from mm_kptm.vision.extractors.extractor import Picture
from mm_kptm.vision.extractors.selection import SelectionRule, best_class, select, surviving_confidences
from mm_kptm.vision.features.contract import FeatureContract
from mm_kptm.vision.features.detections import Detections


def to_unit_range(picture: NDArray[np.uint8]) -> Tensor:
    """Convert [H, W, 3] on 0..255 to [3, H, W] on 0..1; the model resizes it itself."""
    return torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1).float() / 255


def detectors() -> list[str]:
    """Names of torchvision's two-stage detectors."""
    named: list[str] = torchvision.models.list_models(module=torchvision.models.detection)
    return [name for name in named if "rcnn" in name and not name.startswith("keypoint")]


class TorchvisionDetector(nn.Module):
    """Torchvision detector by name, with fresh weights.

    Args:
        name: ``fasterrcnn_resnet50_fpn_v2`` for example.
        num_classes: without the background; 90 for the published COCO weights.
        selection: rule that selects regions among proposals.
        short: short side of the input in pixels.

    Raises:
        UserError: torchvision has no such detector.
    """

    prepare: Callable[[NDArray[np.uint8]], Tensor] = staticmethod(to_unit_range)

    def __init__(
        self, name: str, num_classes: int = 90, *, selection: SelectionRule | None = None, short: int = 800
    ) -> None:
        super().__init__()
        if name not in detectors():
            raise UserError(
                f"torchvision has no detector {name!r} with a head over proposals{nearest(name, detectors())}"
            )
        options: dict[str, Any] = {"weights": None, "weights_backbone": None, "num_classes": num_classes + 1}
        model = torchvision.models.get_model(name, min_size=short, **options)
        assert isinstance(model, FasterRCNN)
        self.model = model
        self.selection = selection or SelectionRule()
        size = model.transform
        self.contract = FeatureContract(
            extractor=f"torchvision {name}",
            colour_order="rgb",
            means=tuple(size.image_mean),
            stds=tuple(size.image_std),
            value_range=1,
            resize=f"short side {short}, long side at most {size.max_size}",
            boxes="proposals",
            nms=f"class-wise {self.selection.nms:g}, confidence {self.selection.threshold:g}, inclusive pixels",
            min_boxes=self.selection.min_boxes,
            max_boxes=self.selection.max_boxes,
            dim=model.roi_heads.box_predictor.cls_score.in_features,
            dtype="float16",
            num_classes=num_classes,
            background="first",
        )

    def completed(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Complete published weights with the entries that they lack.

        torchvision's first weights were trained with frozen batch norm, whose state has no ``num_batches_tracked``
        and whose epsilon they set to 0; later ones have ordinary batch norm.
        """
        counters = {name: value for name, value in self.model.state_dict().items() if name.endswith("batches_tracked")}
        if counters.keys() & state.keys():
            return state
        for module in self.model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = 0.0
        return state | counters

    @torch.no_grad()
    def extract(self, pictures: Sequence[Picture]) -> list[Detections]:
        """Regions of each image; boxes in pixels of the original."""
        device = next(self.parameters()).device
        images, _ = self.model.transform([picture.prepared.to(device) for picture in pictures])
        cells = self.model.backbone(images.tensors)
        rois, _ = self.model.rpn(images, cells)
        heads = self.model.roi_heads
        features = heads.box_head(heads.box_roi_pool(cells, rois, images.image_sizes))
        class_probs = heads.box_predictor(features)[0].softmax(dim=1)
        counts = [len(boxes) for boxes in rois]
        parts = zip(pictures, rois, features.split(counts), class_probs.split(counts), images.image_sizes, strict=True)
        return [self._regions(*part) for part in parts]

    def _regions(
        self, picture: Picture, rois: Tensor, features: Tensor, class_probs: Tensor, size: tuple[int, int]
    ) -> Detections:
        width, height = picture.size
        boxes = rois * rois.new_tensor([width / size[1], height / size[0]]).repeat(2)
        confidences = surviving_confidences(boxes, class_probs, self.selection.nms)
        selected = select(confidences, self.selection)
        ids, id_confidences = best_class(class_probs[selected])
        return Detections(
            picture.name,
            features[selected].cpu().numpy(),
            boxes[selected].cpu().numpy(),
            picture.size,
            class_probs=class_probs[selected].cpu().numpy(),
            object_ids=ids.cpu().numpy(),
            object_confidences=id_confidences.cpu().numpy(),
            confidences=confidences[selected].cpu().numpy(),
        )
