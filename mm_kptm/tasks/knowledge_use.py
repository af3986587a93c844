"""Knowledge use: does a model follow injected facts or its memory? Measured with counterfactual facts.

Where the expected answer follows from a fact, an answer either *follows* the injected facts or is the *memorised* one
by the true facts. Where it does not (the sentiment of a text, the names in it), the loss of accuracy with swapped facts
and the share of unchanged answers are measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from mm_kptm.errors import UserError
from mm_kptm.tasks.example import Example, Row

#: Suffixes of splits with other facts than those of training, and the facts that are injected.
COUNTERFACTUAL_SUFFIXES = {f"-{facts}": facts for facts in ("true", "swapped", "random", "oracle", "none")}
_SWAPPED, _TRUE = "-swapped", "-true"


class KnowledgeUse(NamedTuple):
    """Answers of a model with counterfactual facts."""

    follows_context: float  #: share of answers by the injected facts
    memorised: float  #: share of answers by the true facts

    @property
    def score(self) -> float:
        """Knowledge-use score, from 1 (only the injected facts count) to -1 (they are ignored)."""
        return self.follows_context - self.memorised

    @property
    def memorisation_ratio(self) -> float:
        """Share of memorised answers among those by either facts (Longpre et al. 2021, section 4); 0 without any."""
        either = self.follows_context + self.memorised
        return self.memorised / either if either else 0.0


class AnswerStability(NamedTuple):
    """Effect of swapped facts on answers that do not follow from a fact."""

    drop: float  #: accuracy with true facts minus accuracy with swapped facts
    agreement: float  #: share of examples with the same answer


def with_memorised(row: Row, about: Example, answer: str) -> Row:
    """The row with ``memorised``, 1 if the answer is the one by the true facts, where other facts are injected."""
    return row if about.factual_answer is None else {**row, "memorised": float(answer == about.factual_answer)}


def knowledge_use(rows: Iterable[Row]) -> KnowledgeUse:
    """Knowledge-use score of predictions on examples with swapped facts.

    Raises:
        UserError: there are no predictions, or the facts of one were not swapped.
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
    """Accuracy drop and prediction agreement between swapped and true facts on the same examples.

    Raises:
        UserError: there are no predictions, or the two are not about the same examples.
    """
    if not swapped or [row["id"] for row in swapped] != [row["id"] for row in true]:
        raise UserError(
            f"{len(swapped)} answers with swapped facts cannot be compared with {len(true)} with true facts; both must "
            "be about the same examples, one at least"
        )
    lost = [float(one["correct"]) - float(other["correct"]) for one, other in zip(true, swapped, strict=True)]
    agreed = [one["answer"] == other["answer"] for one, other in zip(true, swapped, strict=True)]
    return AnswerStability(sum(lost) / len(lost), sum(agreed) / len(agreed))


def use_of(split: str, rows: Sequence[Row], answered: Callable[[str], Sequence[Row]]) -> dict[str, float]:
    """Knowledge-use metrics of a split with swapped facts; empty for other splits.

    Args:
        split: its name says which facts are injected, as in :data:`COUNTERFACTUAL_SUFFIXES`.
        rows: predictions on the split.
        answered: predictions on another split by name; called for the split with true facts if no answer follows
            from the facts.

    Returns:
        ``follows_context``, ``memorised``, ``knowledge-use`` and ``memorisation-ratio`` over the examples whose answer
        follows from an injected fact, and their share ``share_with_known_answer``; where there are none, ``drop`` and
        ``agreement``.
    """
    if not split.endswith(_SWAPPED):
        return {}
    known = [row for row in rows if "memorised" in row]
    if not known:
        return {**answer_stability(rows, answered(split.removesuffix(_SWAPPED) + _TRUE))._asdict()}
    use = knowledge_use(known)
    return {
        **use._asdict(),
        "knowledge-use": use.score,
        "memorisation-ratio": use.memorisation_ratio,
        "share_with_known_answer": len(known) / len(rows),
    }
