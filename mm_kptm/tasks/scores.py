"""Scores that a measure may compare: finite ones alone."""

from __future__ import annotations

from torch import Tensor

from mm_kptm.errors import UserError


def finite_scores(scores: Tensor, what: str) -> Tensor:
    """The scores as they are, once every one of them is known to be finite.

    A comparison with NaN is never true, so that NaN would count as the best score (no other is greater) or as the worst
    at random; a measure of such scores means nothing.

    Args:
        scores: of any shape.
        what: what is scored, in the plural, for the message: ``answers`` say.

    Raises:
        UserError: a score is NaN or infinite.
    """
    finite = scores.isfinite()
    if not bool(finite.all()):
        wrong = scores[~finite]
        raise UserError(
            f"{len(wrong)} of {scores.numel()} scores of {what} are not finite (the first is {wrong[0].item()}), so no "
            "answer can be ranked; check the weights of the model and its inputs, or compute in fp32"
        )
    return scores
