"""SimCLR: two views of an image, a ResNet and a projection."""

from __future__ import annotations

from torch import nn

from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.rules import Drop, Rename
from mm_kptm.vision.contrastive.image_encoder import ImageEncoder, projection_head

COUNTER = "counts batches, and running statistics do not depend on it"


def simclr(*, backbone: str = "resnet50") -> ImageEncoder:
    """The encoder of Chen et al. (2020, section 2.1): the pooled feature of ResNet-50, or of any backbone of timm."""
    return ImageEncoder(backbone)


def projection(encoder: ImageEncoder, *, dim: int = 128) -> nn.Sequential:
    """The projection that the loss is taken on and that is dropped afterwards (section 4.2)."""
    return projection_head(encoder.dim, dim)


SIMCLR = Recipe(
    name="simclr-resnet50",
    family="simclr",
    paper="Chen et al. 2020, A Simple Framework for Contrastive Learning of Visual Representations, ICML, "
    "arXiv:2002.05709",
    build=simclr,
    model_types=("simclr",),
    reads=frozenset({"images"}),
    heads={"projection": projection},
    objectives=("nt-xent",),
    pretraining_heads=("projection",),
    weights=(
        Drop("bn1.num_batches_tracked", because=COUNTER),
        Drop("{a}.{i}.{b}.num_batches_tracked", because=COUNTER),
        Drop("{a}.{i}.downsample.{b}.num_batches_tracked", because=COUNTER),
        Drop("fc.{leaf}", because="the linear classifier that was trained on the features"),
        Rename("conv1.weight", "encoder.backbone.conv1.weight"),
        Rename("bn1.{leaf}", "encoder.backbone.bn1.{leaf}"),
        Rename("projection.{i}.{leaf}", "heads.projection.{i}.{leaf}"),
        Rename("{a}.{i}.{b}.{leaf}", "encoder.backbone.{a}.{i}.{b}.{leaf}"),
        Rename("{a}.{i}.downsample.{j}.{leaf}", "encoder.backbone.{a}.{i}.downsample.{j}.{leaf}"),
    ),
    notes=(
        "the released checkpoints are TensorFlow's; conversions to torchvision's names are read",
        "the released loss is the sum of the means over first and second views, twice the mean of the paper",
    ),
)
