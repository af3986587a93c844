"""Whole-word masking against the script released with BERT, from the same random numbers."""

import random
from typing import Any

from mm_kptm.data.masking.static import Treatment, mask_units
from mm_kptm.data.masking.units import NO_GROUP, whole_words
from tests.golden.case import Answer, Case


def masking(case: Case) -> tuple[dict[str, Answer], dict[str, Any]]:
    treatment: Treatment[str] = Treatment("[MASK]", case.json("vocab.json"))
    answers: dict[str, Answer] = {}
    truths: dict[str, Any] = {}
    for number, told in enumerate(case.json("masking.json")):
        tokens = told["tokens"]
        units = whole_words(tokens)
        if not told["whole_word"]:
            units = [NO_GROUP if unit == NO_GROUP else place for place, unit in enumerate(units)]
        rng = random.Random(told["python_seed"])
        at_most = told["max_predictions"]
        hidden, stood = mask_units(tokens, units, treatment, rng, rate=told["masked_lm_prob"], at_most=at_most)
        ours = {"output_tokens": hidden, "positions": list(stood), "labels": list(stood.values())}
        for name, answer in ours.items():
            answers[f"{number} {name}"], truths[f"{number} {name}"] = Answer(answer), told[name]
    return answers, truths


CASES = {"masking": masking}
