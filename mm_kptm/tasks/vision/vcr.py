"""Visual commonsense reasoning: an answer to choose, and the rationale for it."""

from __future__ import annotations

from collections.abc import Sequence

from mm_kptm.tasks.example import Row
from mm_kptm.tasks.vision.multiple_choice import MultipleChoice

ANSWER, RATIONALE = "answer", "rationale"  #: types of the two questions
AFTER = "/"  #: between the id of a question and its type


class VCR(MultipleChoice):
    """Choice of an answer to a question about a scene, and of its rationale (Zellers et al. 2019).

    The rationale is chosen with the right answer in view; a question counts for Q->AR where both choices are right.
    """

    name = "vcr"

    def summary(self, rows: Sequence[Row]) -> dict[str, float]:
        """Accuracy of the answers (Q->A), of the rationales (QA->R), and of both together (Q->AR)."""
        right: dict[str, dict[str, bool]] = {ANSWER: {}, RATIONALE: {}}
        for row in rows:
            if row["type"] in right:
                right[str(row["type"])][str(row["id"]).partition(AFTER)[0]] = float(row["correct"]) == 1
        named = {"q-a": right[ANSWER], "qa-r": right[RATIONALE]}
        found = {name: sum(own.values()) / len(own) for name, own in named.items() if own}
        both = right[ANSWER].keys() & right[RATIONALE].keys()
        if both:
            found["q-ar"] = sum(right[ANSWER][id_] and right[RATIONALE][id_] for id_ in both) / len(both)
        return found
