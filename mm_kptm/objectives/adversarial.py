r"""Adversarial training in embedding space (Zhu et al. 2020, FreeLB; Gan et al. 2020, VILLA).

A perturbation of the continuous inputs is moved up the gradient of the loss for a few steps, and the parameters are
trained on the losses of all steps. Perturbations are ragged: one norm per sequence, over all its rows.

Shapes: T rows, D dim, B sequences, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from mm_kptm.batch import SequenceLayout
from mm_kptm.errors import UserError

Norm = Literal["l2", "linf"]
LEAST = 1e-8  #: a gradient is divided by its norm, or by this


@dataclass(frozen=True)
class Ascent:
    """One step of a perturbation up the gradient.

    Args:
        lr: length of the step.
        norm: ``l2`` or ``linf``, the largest absolute element; the released code divides by it, and takes no sign.
        max_norm: perturbations longer than that are scaled (l2) or clamped (linf) back; 0: never.
        projects_by_gradient: whether the norm that is compared with ``max_norm`` is that of the gradient (UNIMO's
            released code) instead of the perturbation's.
    """

    lr: float
    norm: Norm = "l2"
    max_norm: float = 0.0
    projects_by_gradient: bool = False

    def __call__(self, delta: Tensor, gradient: Tensor, layout: SequenceLayout) -> Tensor:
        r"""The moved perturbation, [T, D], without a gradient.

        .. math:: \delta \leftarrow \Pi(\delta + \eta\, g / \max(\lVert g \rVert, 10^{-8}))
        """
        sequence_ids = layout.sequence_ids(delta.device)
        length = sequence_norms(gradient, layout, self.norm)
        moved = delta + self.lr * gradient / length.clamp(min=LEAST)[sequence_ids][:, None]
        if self.max_norm <= 0:
            return moved.detach()
        if self.norm == "linf":
            return moved.clamp(-self.max_norm, self.max_norm).detach()
        reached = length if self.projects_by_gradient else sequence_norms(moved, layout, self.norm)
        scale = torch.where(reached > self.max_norm, self.max_norm / reached.clamp(min=LEAST), 1.0)
        return (moved * scale[sequence_ids][:, None]).detach()


def sequence_norms(rows: Tensor, layout: SequenceLayout, norm: Norm) -> Tensor:
    """The norm of all elements of every sequence, [T, D] -> [B]."""
    sequence_ids = layout.sequence_ids(rows.device)
    zeros = rows.new_zeros(len(layout))
    if norm == "linf":
        return zeros.scatter_reduce(0, sequence_ids, rows.abs().amax(1), "amax")
    return zeros.index_add(0, sequence_ids, rows.square().sum(1)).sqrt()


def symmetric_kl(ours: Tensor, theirs: Tensor, *, reduction: Literal["batchmean", "mean"] = "batchmean") -> Tensor:
    r"""The divergence :math:`KL(p \Vert q) + KL(q \Vert p)` of two softmax distributions, a scalar.

    One logit alone is that of a yes against a no.

    Args:
        ours: logits of p, [..., C].
        theirs: logits of q, [..., C].
        reduction: ``batchmean`` sums over classes and averages over the rest; ``mean`` averages over all elements, as
            the released code does on VCR.
    """
    p, q = (F.log_softmax(_two_way(logits), dim=-1) for logits in (ours, theirs))
    elements = (p - q) * (p.exp() - q.exp())
    return elements.mean() if reduction == "mean" else elements.sum(-1).mean()


def _two_way(logits: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(logits), logits], dim=-1) if logits.shape[-1] == 1 else logits


@dataclass(frozen=True)
class Pass:
    """What one pass of the model gave."""

    loss: Tensor  #: of the task, a scalar
    outputs: tuple[Tensor, ...]  #: logits, each [..., C]


@dataclass(frozen=True)
class AdversarialStep:
    """What one step did."""

    loss: Tensor  #: its share of the whole, a scalar
    deltas: Mapping[str, Tensor]  #: the perturbations that it used, by stream
    passes: tuple[Pass, ...]  #: one, or one per stream where they alternate


def adversarial_steps(
    clean: Pass,
    perturbed: Callable[[Mapping[str, Tensor]], Pass],
    starts: Mapping[str, tuple[Tensor, SequenceLayout]],
    ascents: Mapping[str, Ascent],
    *,
    steps: int = 3,
    kl_weight: float = 1.5,
    kl_reduction: Literal["batchmean", "mean"] = "batchmean",
    alternate: bool = False,
) -> list[AdversarialStep]:
    """Run the steps; the sum of their losses is what the parameters are trained on (Gan et al. 2020, section 3.3).

    Args:
        clean: the pass without a perturbation; it counts through the divergence alone.
        perturbed: from perturbations by stream to a pass.
        starts: the first perturbation of every stream, [T, D], and where its sequences lie.
        ascents: how the perturbation of every stream moves.
        steps: number of steps, of which the last moves nothing.
        kl_weight: weight of the divergence from the clean pass.
        kl_reduction: see :func:`symmetric_kl`.
        alternate: whether each stream is perturbed in a pass of its own.

    Raises:
        UserError: there is no step or nothing to perturb.
    """
    if steps < 1 or not starts:
        raise UserError(f"adversarial training was asked for with {steps} steps and {len(starts)} streams; give both")
    deltas = {name: start for name, (start, _) in starts.items()}
    groups: Sequence[tuple[str, ...]] = [(name,) for name in deltas] if alternate else [tuple(deltas)]
    done: list[AdversarialStep] = []
    for step in range(steps):
        used = {name: delta.detach().requires_grad_() for name, delta in deltas.items()}
        passes = tuple(perturbed({name: used[name] for name in group}) for group in groups)
        parts = [one.loss + kl_weight * _divergence(clean.outputs, one.outputs, kl_reduction) for one in passes]
        loss = torch.stack(parts).sum() / (steps * len(groups))
        done.append(AdversarialStep(loss, used, passes))
        if step + 1 < steps:
            gradients = torch.autograd.grad(loss, list(used.values()), retain_graph=True)
            deltas = {
                name: ascents[name](used[name], gradient, starts[name][1])
                for name, gradient in zip(used, gradients, strict=True)
            }
    return done


def _divergence(clean: Sequence[Tensor], other: Sequence[Tensor], reduction: Literal["batchmean", "mean"]) -> Tensor:
    return torch.stack([symmetric_kl(p, q, reduction=reduction) for p, q in zip(clean, other, strict=True)]).sum()
