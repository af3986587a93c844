"""Visual entailment: whether an image entails, contradicts or leaves open a sentence."""

from __future__ import annotations

from mm_kptm.systems.recipe import Recipe
from mm_kptm.tasks.heads import Heads, requested_heads
from mm_kptm.tasks.labelling import Labelled, OneLabel
from mm_kptm.tasks.scores import Alternatives


class VisualEntailment(OneLabel):
    """Does a photograph entail a sentence (Xie et al. 2019, SNLI-VE)?

    The head is ``visual-entailment`` (ViLBERT), or that of VQA with three answers (UNITER).
    """

    name = "visual-entailment"
    needs = frozenset({"text", "regions"})
    HEADS: tuple[str, ...] = ("visual-entailment", "vqa")

    @classmethod
    def heads(cls, recipe: Recipe, num_classes: int, *, marks: bool = False) -> Heads:
        """The heads to ask of :func:`mm_kptm.build` or :func:`mm_kptm.load` for this task."""
        chosen = requested_heads(recipe, cls.HEADS)
        return {"vqa": {"num_answers": num_classes}} if "vqa" in chosen else chosen

    def alternatives(self, batch: Labelled) -> Alternatives:
        """The labels of a sentence."""
        return Alternatives(batch.inputs, lambda inputs: self(inputs)[0])
