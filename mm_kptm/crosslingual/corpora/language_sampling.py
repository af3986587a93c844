"""Exponentially smoothed language sampling."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mm_kptm.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def shares(counts: Mapping[str, int], factor: float) -> dict[str, float]:
    r"""Sampling probability of each language (Conneau and Lample 2019, section 3.1).

    .. math:: q_l = p_l^s / \sum_k p_k^s, \qquad p_l = n_l / \sum_k n_k

    Args:
        counts: n, the sentences of every language.
        factor: s; 1 samples proportionally, 0 uniformly. The paper uses 0.5 for the vocabulary and 0.7
            for models of 17 and 100 languages.

    Raises:
        UserError: a language has no sentence.

    >>> shares({"en": 900, "sw": 100}, 0.5)
    {'en': 0.75, 'sw': 0.25}
    """
    for language, count in counts.items():
        if count < 1:
            raise UserError(f"the language {language} has {count} sentences, so none can be drawn; leave it out")
    total = sum(counts.values())
    weights = {language: (count / total) ** factor for language, count in counts.items()}
    whole = math.fsum(weights.values())
    return {language: weight / whole for language, weight in weights.items()}


def drawn(languages: Sequence[str], factor: float, size: int, generator: torch.Generator) -> Tensor:
    """Indices of ``size`` examples sampled with replacement, with languages in the proportions of :func:`shares`.

    Args:
        languages: language of every example.
        factor: as in :func:`shares`.
        size: number of samples.
        generator: random generator.
    """
    import torch  # only here: a corpus is read, with the shares of its languages, where torch is not imported

    counts = {language: languages.count(language) for language in dict.fromkeys(languages)}
    output_rows = shares(counts, factor)
    weights = torch.tensor([output_rows[language] / counts[language] for language in languages], dtype=torch.double)
    # inverse transform sampling: the same examples on every machine
    sums = weights.cumsum(0)
    points = torch.rand(size, generator=generator, dtype=torch.double) * sums[-1]
    return torch.searchsorted(sums, points, right=True).clamp(max=len(languages) - 1)
