"""ImageNet classifiers: a backbone of timm with the layer that scores the 1,000 classes."""

from __future__ import annotations

from torch import nn

from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.rules import Drop, Rename
from mm_kptm.vision.contrastive.image_encoder import ImageEncoder
from mm_kptm.vision.contrastive.key_maps import move


def efficientnet_lite0(*, backbone: str = "tf_efficientnet_lite0") -> ImageEncoder:
    """The network of Tan and Le (2019) without squeeze-and-excitation; a picture is the mean of its last map."""
    return ImageEncoder(backbone, mean=(127 / 255,) * 3, std=(128 / 255,) * 3)


def classifier(encoder: ImageEncoder, *, num_classes: int = 1000) -> nn.Linear:
    """Linear classifier on the pooled feature."""
    return nn.Linear(encoder.dim, num_classes)


EFFICIENTNET_LITE0 = Recipe(
    name="efficientnet-lite0",
    family="efficientnet",
    paper="Tan and Le 2019, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, ICML, "
    "arXiv:1905.11946; Lite0 is its form for small devices",
    build=efficientnet_lite0,
    model_types=("efficientnet-lite0",),
    reads=frozenset({"images"}),
    heads={"classifier": classifier},
    pretraining_heads=("classifier",),
    weights=(
        Rename("classifier.{leaf}", "heads.classifier.{leaf}"),
        Drop("bn{i}.num_batches_tracked", because="counts batches, and running statistics do not depend on it"),
        *(
            rule
            for part in ("conv_stem", "bn1", "blocks", "conv_head", "bn2")
            for rule in move(part, f"encoder.backbone.{part}", depth=6)
        ),
    ),
    notes=("pixels are (x - 127) / 128, x from 0 to 255; pictures have 224 pixels a side, cut out of 256",),
)
