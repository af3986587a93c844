"""Natural language inference: what follows from a premise."""

from __future__ import annotations

from mm_kptm.tasks.labelling import OneLabel


class Entailment(OneLabel):
    """Does a hypothesis follow from a premise, contradict it, or neither (Conneau et al. 2018, XNLI).

    Premise and hypothesis stand in a row; the measure is accuracy. The order of the labels is the data's: published
    heads differ in it.
    """

    name = "entailment"
    HEADS = ("entailment",)
