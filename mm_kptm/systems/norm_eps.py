"""The size ``norm_eps``: the eps of every LayerNorm of an encoder, as ``layer_norm_eps`` of a published configuration.

Encoders that build their norms part by part take it by :func:`takes_norm_eps`; heads have the eps of their encoder.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from torch import nn

BERT_EPS = 1e-12  #: inside the root (Devlin et al. 2019, released code)

M = TypeVar("M", bound=nn.Module)


def set_norm_eps(module: nn.Module, eps: float, *, published: float = BERT_EPS) -> None:
    """Give every LayerNorm that has the published eps another one."""
    for part in module.modules():
        if isinstance(part, nn.LayerNorm) and part.eps == published:
            part.eps = eps


def takes_norm_eps(build: Callable[..., M], *, published: float = BERT_EPS) -> Callable[..., M]:
    """Give the builder of an encoder the size ``norm_eps``, whose default is the published one."""

    @wraps(build)
    def built(*, norm_eps: float = published, **sizes: Any) -> M:
        encoder = build(**sizes)
        set_norm_eps(encoder, norm_eps, published=published)
        return encoder

    signature = inspect.signature(build)
    more = inspect.Parameter("norm_eps", inspect.Parameter.KEYWORD_ONLY, default=published, annotation=float)
    built.__signature__ = signature.replace(  # type: ignore[attr-defined]  # read by inspect
        parameters=[*signature.parameters.values(), more]
    )
    return built
