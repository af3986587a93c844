"""MoCo v2: a view of an image against the keys of a queue, encoded by an encoder that follows by momentum."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.rules import Rename, Transpose
from mm_kptm.vision.contrastive.image_encoder import ImageEncoder, MomentumQueue
from mm_kptm.vision.contrastive.key_maps import move


def moco(*, backbone: str = "resnet50") -> ImageEncoder:
    """The encoder of He et al. (2020, section 3.2): the pooled feature of ResNet-50, or of any backbone of timm."""
    return ImageEncoder(backbone)


def momentum_queue(encoder: ImageEncoder, *, dim: int = 128, queue_size: int = 65536) -> MomentumQueue:
    """The projection of version 2, the encoder that follows, and its queue."""
    return MomentumQueue(encoder, dim=dim, queue_size=queue_size)


def queue_sizes(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, int]]:
    """The length and the width of the queue of a checkpoint that holds it."""
    keys = tensors.get("heads.momentum-queue.queue.keys")
    return {} if keys is None else {"momentum-queue": {"queue_size": len(keys), "dim": keys.shape[1]}}


_HEAD = "heads.momentum-queue"

MOCO_V2 = Recipe(
    name="moco-v2-resnet50",
    family="moco",
    paper="Chen et al. 2020, Improved Baselines with Momentum Contrastive Learning, arXiv:2003.04297",
    build=moco,
    model_types=("moco",),
    reads=frozenset({"images"}),
    heads={"momentum-queue": momentum_queue},
    objectives=("momentum-contrast",),
    pretraining_heads=("momentum-queue",),
    weights=(
        Rename("encoder_q.fc.{i}.{leaf}", f"{_HEAD}.projection.{{i}}.{{leaf}}"),
        Rename("encoder_k.fc.{i}.{leaf}", f"{_HEAD}.slow_projection.{{i}}.{{leaf}}"),
        *move("encoder_q", "encoder.backbone"),
        *move("encoder_k", f"{_HEAD}.slow.backbone"),
        Transpose("queue", f"{_HEAD}.queue.keys"),
        Rename("queue_ptr", f"{_HEAD}.queue.pointer"),
    ),
    infer_heads=queue_sizes,
    notes=(
        "the released file was written by DataParallel; its module. is left out",
        "the key encoder moves before the keys are taken; batches are not shuffled between devices",
    ),
)
