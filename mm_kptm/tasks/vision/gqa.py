"""Compositional visual questions with GQA's metrics beside accuracy."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from mm_kptm.tasks.example import Example, Row, prediction
from mm_kptm.tasks.vision.vqa import VQA

OPEN, BINARY = "open", "binary"
_COMMON = frozenset({"color", "material", "shape"})  #: what two things may have in common


@dataclass(frozen=True)
class GqaExample(Example):
    """Metadata of a question of GQA, beyond that of any question."""

    balanced: bool = True  #: whether accuracy counts it
    kind: str = OPEN  #: open or binary
    common: bool = False  #: whether it asks what two things have in common
    answer_group: str = ""  #: questions whose answers are distributed alike; empty for none
    entailed: tuple[str, ...] = ()
    valid: frozenset[str] | None = None  #: None where the data do not say it
    plausible: frozenset[str] | None = None


class GQA(VQA):
    """Questions that were composed from scene graphs (Hudson and Manning 2019).

    The metrics are those of the released evaluation; ``accuracy`` is that over all questions of the file, and
    ``balanced-accuracy`` the published one.
    """

    name = "gqa"
    HEADS = ("gqa", *VQA.HEADS)

    def row(self, about: Example, answer: str) -> Row:
        """A line of the predictions, with what the metrics of GQA need."""
        if not isinstance(about, GqaExample):
            return super().row(about, answer)
        more: dict[str, str | float] = {
            "balanced": float(about.balanced),
            "kind": about.kind,
            "answer_group": about.answer_group,
            "entailed": " ".join(about.entailed),
        }
        for name, allowed in (("valid", about.valid), ("plausible", about.plausible)):
            if allowed is not None:
                more[name] = float(answer in (_COMMON if about.common else allowed))
        return prediction(about, answer, correct=None, **more)

    def summary(self, rows: Sequence[Row]) -> dict[str, float]:
        """Accuracy of balanced, binary and open questions, consistency, validity, plausibility, distribution.

        Consistency needs predictions of the questions that those right entail, which are in the files of all questions;
        validity and plausibility need the file of choices. What is not there is left out.
        """
        if not all("balanced" in row for row in rows):
            return {}
        balanced = [row for row in rows if row["balanced"]]
        found = {"balanced-accuracy": _mean([float(row["correct"]) for row in balanced])}
        for kind in (OPEN, BINARY):
            found[f"{kind}-accuracy"] = _mean([float(row["correct"]) for row in balanced if row["kind"] == kind])
        for measure, key in (("validity", "valid"), ("plausibility", "plausible")):
            found[measure] = _mean([float(row[key]) for row in balanced if key in row])
        found["consistency"] = _mean(_consistency(balanced, {str(row["id"]): float(row["correct"]) for row in rows}))
        found["distribution"] = _distance([row for row in balanced if row["answer_group"]])
        return {name: value for name, value in found.items() if value is not None}


def _consistency(balanced: Sequence[Row], correct: dict[str, float]) -> list[float]:
    """How many of the questions that a right answer entails are answered right as well."""
    shares = []
    for row in balanced:
        entailed = str(row["entailed"]).split()
        if float(row["correct"]) == 1 and entailed and all(other in correct for other in entailed):
            shares.append(sum(correct[other] for other in entailed) / len(entailed))
    return shares


def _distance(rows: Sequence[Row]) -> float | None:
    """Chi-square distance of the predicted from the gold answers within groups; lower is better."""
    gold: dict[str, Counter[str]] = defaultdict(Counter)
    given: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        gold[str(row["answer_group"])][str(row["target"])] += 1
        given[str(row["answer_group"])][str(row["answer"])] += 1
    if not rows:
        return None
    total = 0.0
    for group, expected in gold.items():
        chi = sum((given[group][answer] - count) ** 2 / count for answer, count in expected.items())
        total += chi * expected.total()
    return total / len(rows)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
