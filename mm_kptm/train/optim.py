"""Optimisers, weight-decay groups and learning-rate schedules."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.optim.optimizer import ParamsT

from mm_kptm.errors import UserError
from mm_kptm.train.layers import parameter_depths
from mm_kptm.train.settings import TrainSettings

OptimizerState = dict[str, dict[str, Tensor]]  #: state of each parameter, by parameter name


class BertAdam(torch.optim.Optimizer):
    r"""BERT's Adam: no bias correction, decoupled weight decay (Devlin et al. 2019).

    .. math::
        m &\leftarrow \beta_1 m + (1 - \beta_1) g, \quad v \leftarrow \beta_2 v + (1 - \beta_2) g^2 \\
        w &\leftarrow w - \eta\,(m / (\sqrt v + \epsilon) + \lambda w)

    Without bias correction the first updates are about three times smaller at the usual betas, which matters for short
    fine-tuning (Zhang et al. 2021, Revisiting few-sample BERT fine-tuning, section 4).
    """

    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # no closure: every loss is computed once
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            moving = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not moving:
                continue
            for parameter in moving:
                if not self.state[parameter]:
                    self.state[parameter].update(mean=torch.zeros_like(parameter), square=torch.zeros_like(parameter))
            gradients: list[Tensor] = [parameter.grad for parameter in moving]
            means: list[Tensor] = [self.state[parameter]["mean"] for parameter in moving]
            squares: list[Tensor] = [self.state[parameter]["square"] for parameter in moving]
            first, second = group["betas"]
            torch._foreach_lerp_(means, gradients, 1 - first)
            torch._foreach_mul_(squares, second)
            torch._foreach_addcmul_(squares, gradients, gradients, 1 - second)
            divisors = torch._foreach_sqrt(squares)
            torch._foreach_add_(divisors, group["eps"])
            torch._foreach_mul_(moving, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_addcdiv_(moving, means, divisors, -group["lr"])


def groups(
    parameters: Iterable[nn.Parameter], weight_decay: float, lr_scales: Mapping[nn.Parameter, float] | None = None
) -> list[dict[str, object]]:
    """Parameter groups: matrices with weight decay, vectors and scalars without, of each learning rate.

    Biases and norms are vectors, so no list of names is needed. Tied parameters must come once, as
    ``nn.Module.parameters`` gives them.

    Args:
        parameters: of the model; frozen ones are left out.
        weight_decay: of the matrices.
        lr_scales: learning rate of each parameter over that of the schedule, the ``lr_scale`` of its group; None: 1.

    Raises:
        UserError: every parameter is frozen.
    """
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    if not trained:
        raise UserError("the model has no parameter to train: all are frozen; unfreeze some or only evaluate it")
    scale_of = {parameter: 1.0 if lr_scales is None else lr_scales[parameter] for parameter in trained}
    return [
        {"params": chosen, "weight_decay": decay, "lr_scale": scale}
        for scale in dict.fromkeys(scale_of.values())
        for decay, matrices in ((weight_decay, True), (0.0, False))
        if (chosen := [p for p in trained if scale_of[p] == scale and (p.ndim > 1) is matrices])
    ]


def lr_scales(model: nn.Module, settings: TrainSettings) -> dict[nn.Parameter, float]:
    r"""Learning rate of every parameter over that of the schedule.

    Of :math:`N` layers, layer :math:`i` (from 1) has :math:`d^{N + 1 - i}` with :math:`d` ``settings.layer_decay``, the
    embeddings :math:`d^{N + 1}`, and the heads 1 (Bao et al. 2022, BEiT, released code), or ``settings.head_lr`` over
    ``settings.lr``. In the code of ELECTRA (Clark et al. 2020, section 3.2) all but the heads have one power more.

    Raises:
        UserError: rates are to fall by layer, and there are no layers.
    """
    depths = parameter_depths(model)
    if settings.layer_decay != 1 and depths.heads == 1:
        raise UserError(
            f"train.layer_decay is {settings.layer_decay}, but this encoder has no layers of attention; leave it 1"
        )
    scales = {parameter: settings.layer_decay ** (depths.heads - depth) for parameter, depth in depths.of.items()}
    if settings.head_lr is None:
        return scales
    of_heads = settings.head_lr / settings.lr
    return {parameter: of_heads if depths.of[parameter] == depths.heads else scales[parameter] for parameter in scales}


def optimizer_for(model: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """Build the optimiser of ``settings`` over the trainable parameters of ``model``."""
    grouped = groups(model.parameters(), settings.weight_decay, lr_scales(model, settings))
    if settings.optimizer == "bert-adam":
        return BertAdam(grouped, lr=settings.lr, betas=settings.betas, eps=settings.eps)
    return torch.optim.AdamW(
        grouped, lr=settings.lr, betas=settings.betas, eps=settings.eps, fused=True if settings.fused else None
    )


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of every group: ``lr`` times its ``lr_scale``."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]


def state_of(optimizer: torch.optim.Optimizer, model: nn.Module) -> OptimizerState:
    """Optimiser state keyed by parameter name, independent of parameter order and groups."""
    names = _names(optimizer, model)
    return {names[number]: values for number, values in optimizer.state_dict()["state"].items()}


def load_state(optimizer: torch.optim.Optimizer, model: nn.Module, state: OptimizerState) -> None:
    """Load optimiser state keyed by parameter name; ``UserError`` if a parameter in it is not trained here."""
    names = _names(optimizer, model)
    unexpected = sorted(state.keys() - set(names))
    if unexpected:
        raise UserError(
            f"the run to resume trained {', '.join(unexpected[:3])}{' and more' * (len(unexpected) > 3)}, but this "
            "model does not; freeze what was frozen then, or start a new run"
        )
    numbered = {number: state[name] for number, name in enumerate(names) if name in state}
    optimizer.load_state_dict({"state": numbered, "param_groups": optimizer.state_dict()["param_groups"]})


def _names(optimizer: torch.optim.Optimizer, model: nn.Module) -> list[str]:
    """Parameter names in the order of the optimiser's groups, which is how torch numbers them."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    return [names[parameter] for group in optimizer.param_groups for parameter in group["params"]]


def lr_at(step: int, settings: TrainSettings) -> float:
    """Learning rate of a step, counted from 1; stateless, so that a resumed run has the same one.

    >>> [lr_at(step, TrainSettings(steps=4, lr=1.0, warmup=0.5)) for step in (1, 2, 3, 4)]
    [0.5, 1.0, 1.0, 0.5]
    """
    steps = settings.num_steps
    warmup = round(settings.warmup * steps)
    if step <= warmup:
        return settings.lr * step / warmup
    if settings.schedule == "constant":
        return settings.lr
    if settings.schedule == "wsd":  # Hu et al. 2024, MiniCPM, section 4: warm-up, stable, decay
        return settings.lr * min(1.0, (steps - step + 1) / (settings.decay_fraction * steps))
    if settings.schedule == "inverse-sqrt":  # Vaswani et al. 2017, equation 3; XLM was trained with it
        return settings.lr * math.sqrt(max(warmup, 1) / step)
    done = (step - 1 - warmup) / (steps - warmup)  # below 1: no step has a rate of zero
    if settings.schedule == "cosine":
        return settings.lr * 0.5 * (1 + math.cos(math.pi * done))
    return settings.lr * (1 - done)
