"""BLEU, chrF and TER through the public scores; the truth lies in ``config.json``."""

from typing import Any

import torch

from mm_kptm.tasks.metrics.generation import bleu, chrf, sentence_bleu, ter, tokenized
from tests.golden.case import Answer, Case

NAMES = {
    "score": "score",
    "signature": "signature",
    "precisions": "precisions",
    "counts": "counts",
    "totals": "totals",
    "bp": "brevity_penalty",
}


def scores(case: Case) -> tuple[dict[str, Answer], dict[str, Any]]:
    config = case.config
    hypotheses, sets = config["hypotheses"], [config["references"], config["references_2"]]
    ours: dict[str, Answer] = {}
    theirs: dict[str, Any] = {}

    def add(name: str, value: Any, truth: Any) -> None:
        exact = isinstance(truth, str) or (isinstance(truth, list) and isinstance(truth[0], int))
        ours[name] = Answer(value) if exact else Answer(torch.tensor(value), atol=1e-6, rtol=1e-6)
        theirs[name] = truth if exact else torch.tensor(truth, dtype=torch.float32)

    for number, result in enumerate(config["results"]):
        if result["metric"] == "BLEU" and "smooth" in result:
            only = slice(1 if result["first_sentence_only"] else None)
            found: Any = bleu(hypotheses[only], [sets[0][only]], smoothing=result["smooth"])
        elif result["metric"] == "BLEU":
            settings = {"tokenize": result["tokenize"], "lowercase": result["lowercase"]}
            found = bleu(hypotheses, sets[: result["references"]], **settings)
            add(f"{number} lengths", list(found.lengths), [result["sys_len"], result["ref_len"]])
        elif result["metric"] == "TER":
            found = ter(hypotheses, sets[:1])
        else:
            found = chrf(hypotheses, sets[:1], word_order=2 if result["metric"] == "chrF++" else 0)
        for theirs_name, name in NAMES.items():
            if theirs_name in result:
                value, truth = getattr(found, name), result[theirs_name]
                if name == "signature":  # the last field is the version of sacrebleu
                    value, truth = (text.rpartition("|")[0] for text in (value, truth))
                add(f"{number} {theirs_name}", value, truth)
    for number, sentence in enumerate(config["sentences"]):
        hypothesis, reference = sentence["hyp"], sentence["ref"]
        add(f"sentence {number} bleu", sentence_bleu(hypothesis, [reference]), sentence["sentence_bleu"])
        add(f"sentence {number} chrf", chrf([hypothesis], [[reference]]).score, sentence["sentence_chrf"])
    for number, entry in enumerate(config["tokens"]):
        add(f"tokens {number}", tokenized(entry["text"], entry["tokenize"]), entry["tokens"])
    return ours, theirs


CASES = {"scores": scores}
"""What each golden case compares."""
