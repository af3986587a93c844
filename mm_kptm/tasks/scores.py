"""Scores that answers are chosen by: finite ones alone may be compared, and those of one text can be explained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

from torch import Tensor

from mm_kptm.batch import Inputs
from mm_kptm.errors import UserError

B_contra = TypeVar("B_contra", contravariant=True)


@dataclass(frozen=True, eq=False)
class Alternatives:
    """What the answer to one text is chosen from."""

    inputs: Inputs  #: of the text, with its image
    scores: Callable[[Inputs], Tensor]  #: of the alternatives, [A]; the highest is the answer


@runtime_checkable
class ChoosesOne(Protocol[B_contra]):
    """A task that chooses one answer for a text about an image, which can therefore be explained."""

    def alternatives(self, batch: B_contra) -> Alternatives:
        """What the answer to a batch of one example is chosen from."""


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
