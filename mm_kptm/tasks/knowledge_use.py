"""Whether a model uses the facts it is told, for every task that tells facts: told other ones, what does it answer?

Where the answer expected follows from a fact, it is known what a model would say that *follows* the facts told and what
one would say that *sticks* to the true ones. Where it is not (the sentiment of a text, the names in it), it is measured
how much accuracy is lost when the facts are swapped, and how many answers stay as they were.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from mm_kptm.errors import UserError
from mm_kptm.tasks.example import Example, Row

#: Ends the name of a split whose examples are told other facts than training was, with what they are told.
COUNTERFACTUAL_SUFFIXES = {f"-{facts}": facts for facts in ("true", "swapped", "random", "oracle", "none")}
_SWAPPED, _TRUE = "-swapped", "-true"


class KnowledgeUse(NamedTuple):
    """What a model does when it is told other facts than it was trained on."""

    follows_context: float  #: share of answers by the facts told
    memorised: float  #: share of answers by the true facts

    @property
    def score(self) -> float:
        """The knowledge-use score: from 1, only the facts told count, to -1, they are ignored."""
        return self.follows_context - self.memorised


class AnswerStability(NamedTuple):
    """What changes when facts are swapped that no answer follows from."""

    drop: float  #: accuracy with true facts minus accuracy with swapped ones
    agreement: float  #: share of examples answered alike with both


def with_memorised(row: Row, about: Example, answer: str) -> Row:
    """The row with ``memorised``, 1 where the answer is the one by the true facts, if others were told."""
    return row if about.factual_answer is None else {**row, "memorised": float(answer == about.factual_answer)}


def knowledge_use(rows: Iterable[Row]) -> KnowledgeUse:
    """The knowledge-use score of predictions on examples with swapped facts.

    Raises:
        UserError: there is none, or the facts of one were not swapped.
    """
    follows_context, memorised = [], []
    for row in rows:
        if "memorised" not in row:
            raise UserError(f"knowledge use was asked for, but the facts of question {row['id']} are not swapped ones")
        follows_context.append(float(row["correct"]))
        memorised.append(float(row["memorised"]))
    if not follows_context:
        raise UserError("knowledge use was asked for over no predictions; it needs one at least")
    return KnowledgeUse(sum(follows_context) / len(follows_context), sum(memorised) / len(memorised))


def answer_stability(swapped: Sequence[Row], true: Sequence[Row]) -> AnswerStability:
    """What the same examples are answered with swapped facts and with the true ones.

    Raises:
        UserError: there is none, or the two are not about the same examples.
    """
    if not swapped or [row["id"] for row in swapped] != [row["id"] for row in true]:
        raise UserError(
            f"{len(swapped)} answers with swapped facts were to be held against {len(true)} with true ones; both must "
            "be about the same examples, one at least"
        )
    lost = [float(one["correct"]) - float(other["correct"]) for one, other in zip(true, swapped, strict=True)]
    alike = [one["answer"] == other["answer"] for one, other in zip(true, swapped, strict=True)]
    return AnswerStability(sum(lost) / len(lost), sum(alike) / len(alike))


def use_of(split: str, rows: Sequence[Row], answered: Callable[[str], Sequence[Row]]) -> dict[str, float]:
    """What is said of knowledge beside the measures of a split whose facts are swapped; nothing of other splits.

    Args:
        split: whose name says which facts were told, as in :data:`COUNTERFACTUAL_SUFFIXES`.
        rows: its predictions.
        answered: the predictions of another split; asked for the one with the true facts, if no answer follows from
            the facts.

    Returns:
        ``follows_context``, ``memorised`` and ``knowledge-use`` over the examples whose answer follows from an injected
        fact, with their share ``share_with_known_answer``; where there are none, ``drop`` and ``agreement``.
    """
    if not split.endswith(_SWAPPED):
        return {}
    known = [row for row in rows if "memorised" in row]
    if not known:
        return {**answer_stability(rows, answered(split.removesuffix(_SWAPPED) + _TRUE))._asdict()}
    use = knowledge_use(known)
    return {**use._asdict(), "knowledge-use": use.score, "share_with_known_answer": len(known) / len(rows)}
