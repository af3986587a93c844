"""G9: the contrastive loss with its gradients, vectors of 512, at 1,024 and 4,096 pairs.

The peer is ``ClipLoss`` of open_clip, which keeps both matrices of scores and their gradients. Ours streams blocks of
256 rows and forms the gradients by hand.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import open_clip
import torch
import torch.nn.functional as F
from open_clip.loss import ClipLoss
from torch import Tensor

from benchmarks.harness import OURS, PEER, Case, within
from mm_kptm.vision.contrastive.losses.info_nce import contrast_losses
from mm_kptm.vision.contrastive.losses.streamed import streamed_contrast

DIM, SIZES = 512, (1024, 4096)
VERSIONS = {"open_clip": open_clip.__version__}


def build(seed: int = 0) -> tuple[Case, ...]:
    """The cases at their published sizes."""
    return tuple(_case(count, torch.Generator().manual_seed(seed)) for count in SIZES)


def _case(count: int, generator: torch.Generator) -> Case:
    images = torch.randn(count, DIM, generator=generator).requires_grad_()
    texts = (0.5 * images.detach() + torch.randn(count, DIM, generator=generator)).requires_grad_()
    log_scale = torch.tensor(math.log(1 / 0.07), requires_grad=True)
    contrast = ClipLoss()
    losses: dict[str, Callable[[], Tensor]] = {
        PEER: lambda: contrast(F.normalize(images, dim=-1), F.normalize(texts, dim=-1), log_scale.exp()),
        "ours whole": lambda: contrast_losses(images, texts, log_scale.exp()).mean(),
        OURS: lambda: streamed_contrast(images, texts, log_scale.exp()),
    }
    leaves = (images, texts, log_scale)

    def gradients(name: str) -> tuple[Tensor, ...]:
        return torch.autograd.grad(losses[name](), leaves)

    def check() -> dict[str, float]:
        truth = gradients(PEER)
        differences = {
            name: max(float((one - other).abs().max()) for one, other in zip(gradients(name), truth, strict=True))
            for name in losses
        }
        return within(differences, dict.fromkeys(differences, 1e-6), "g09")

    def run(name: str) -> Callable[[], float]:
        return lambda: float(count) if all(bool(one.isfinite().all()) for one in gradients(name)) else 0.0

    return Case(
        name="g09" if count == SIZES[-1] else f"g09-{count}",
        title=f"contrast of {count} pairs of {DIM} with gradients",
        unit="pairs",
        work=float(count),
        variants={name: run(name) for name in losses},
        check=check,
        sizes={"pairs": count, "dim": DIM},
    )
