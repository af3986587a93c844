"""Settings that depend on others: resolved before a run, so that its config says what it did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from statistics import median
from typing import Any

import torch
from torch import nn

from mm_kptm.errors import UserError
from mm_kptm.experiment.settings import Experiment
from mm_kptm.systems.discovery import find
from mm_kptm.systems.recipe import Recipe

BERT_STD = 0.02  #: standard deviation of fresh matrices (Devlin et al. 2019, released code)
SMALL = 256  #: widest encoder whose fresh weights are drawn more widely than published


def with_defaults(settings: Experiment) -> Experiment:
    r"""The settings with ``encoder.init_std`` resolved: a number, or null for that of the recipe.

    BERT's standard deviation belongs to widths of 768 and more. In a narrow encoder it leaves states so alike that
    training begins late or never; :math:`1/\sqrt{dim}` keeps the variance of a product of states and weights (Glorot
    and Bengio 2010, equation 10). It is taken where an encoder of BERT's kind has fresh weights, narrower than
    published and at most ``SMALL`` wide.

    Raises:
        UserError: there is no such recipe.
    """
    if settings.encoder.init_std != "auto":
        return settings
    return replace(settings, encoder=replace(settings.encoder, init_std=_fitting(settings)))


def _fitting(settings: Experiment) -> float | None:
    encoder = settings.encoder
    recipe = find(encoder.recipe)
    dim, published = encoder.sizes.get("dim"), recipe.published_sizes().get("dim")
    if encoder.weights is not None or not isinstance(dim, int) or not isinstance(published, int):
        return None
    if not 0 < dim <= SMALL or dim >= published or not _draws_as_bert(recipe, encoder.sizes):
        return None
    return round(dim**-0.5, 4)


def _draws_as_bert(recipe: Recipe, sizes: Mapping[str, Any]) -> bool:
    """Whether a recipe draws its matrices with BERT's standard deviation, whatever their width; XLM's does not."""
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            encoder = recipe.build(**recipe.resolved_sizes(sizes))
    except UserError:  # of sizes that fit neither here nor in the run, which says so at its place
        return False
    spreads = [part.weight.std().item() for part in encoder.modules() if isinstance(part, nn.Linear)]
    return bool(spreads) and abs(median(spreads) - BERT_STD) < 0.25 * BERT_STD


def said_of(asked: Experiment, resolved: Experiment) -> str | None:
    """What to say of a default that was resolved; None where nothing was."""
    std = resolved.encoder.init_std
    if asked.encoder.init_std != "auto" or std is None:
        return None
    return (
        f"encoder.init_std is {std}, as fits fresh weights of dim {resolved.encoder.sizes['dim']}; "
        f"null takes that of {resolved.encoder.recipe}"
    )
