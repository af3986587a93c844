"""Natural language inference."""

from __future__ import annotations

from mm_kptm.tasks.labelling import OneLabel


class Entailment(OneLabel):
    """Natural language inference: entailment, contradiction or neutral (Conneau et al. 2018, XNLI).

    The input is the pair of premise and hypothesis; the measure is accuracy. The order of the labels is the data's,
    because published heads differ in it.
    """

    name = "entailment"
    HEADS = ("entailment", "classifier")
