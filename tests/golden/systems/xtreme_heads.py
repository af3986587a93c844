"""Heads of BERT and XLM-R in XTREME, against Hugging Face: classes of sequences and tokens, answer spans."""

import torch
import torch.nn.functional as F
from torch import Tensor

import mm_kptm
from mm_kptm.batch import POOLED_ONLY, Inputs, Tokens, pad
from mm_kptm.nn.positions import counted_positions
from mm_kptm.nn.visibility import Open
from mm_kptm.systems.system import System
from mm_kptm.tasks.text.question_answering import span_losses
from tests.golden.case import Answer, Case

#: What transformers calls them, and what the recipes do.
FAMILIES = {"bert": "bert", "xlm-roberta": "xlm-r"}
IGNORED = -100


def loaded(case: Case, head: str) -> System:
    """The system with the published head; Hugging Face builds taggers and readers without a pooler."""
    family = FAMILIES[case.config["model_type"]]
    fresh = ["encoder.pooler."] if family == "bert" and head != "classifier" else []
    return mm_kptm.load(family, case.folder, heads=[head], fresh=fresh)


def texts(case: Case, real: Tensor, **more: Open) -> Inputs:
    ids, pad_id = case.inputs["input_ids"], case.config["pad_token_id"]
    positions = counted_positions(ids, pad_id) if case.config["model_type"] == "xlm-roberta" else None
    segments = case.inputs.get("token_type_ids")
    return Inputs(text=Tokens.padded(ids, real, positions=positions, segments=segments, **more))


def sequence(case: Case) -> dict[str, Answer]:
    system = loaded(case, "classifier")
    encoded = system(texts(case, case.inputs["attention_mask"].bool()), POOLED_ONLY)
    logits = system.head("classifier")(encoded.pooled)
    return {"logits": Answer(logits), "loss": Answer(F.cross_entropy(logits, case.inputs["labels"]))}


def token(case: Case) -> dict[str, Answer]:
    system = loaded(case, "token-classifier")
    real = case.inputs["attention_mask"].bool()
    logits = system.head("token-classifier")(system(texts(case, real)).text)
    loss = F.cross_entropy(logits, case.inputs["labels"][real], ignore_index=IGNORED)
    return {
        "logits": Answer(logits, real),
        "loss": Answer(loss),
        "predictions": Answer(logits.argmax(-1), real),
    }


def span(case: Case) -> dict[str, Answer]:
    system = loaded(case, "answer-spans")
    real = case.inputs["attention_mask"].bool()
    inputs = texts(case, torch.ones_like(real), attention_mask=Open(real.flatten()))  # the loss reads padding too
    scores = system.head("answer-spans")(system(inputs).text)
    outside = torch.full_like(case.inputs["start_positions"], -1)
    loss = torch.zeros(())
    for edge in ("start", "end"):  # each is a mean over the texts whose answer has that edge inside
        places = case.inputs[f"{edge}_positions"]
        asked = (places, outside) if edge == "start" else (outside, places)
        loss = loss + span_losses(scores, inputs.text.layout, *asked)[places < real.shape[1]].mean()
    edges = [pad(edge, inputs.text.layout)[real] for edge in scores.unbind(1)]
    return {
        "start_logits": Answer(edges[0], real),
        "end_logits": Answer(edges[1], real),
        "loss": Answer(loss),
    }


CASES = {
    f"{kind}-{family}": compared
    for kind, compared in {"sequence": sequence, "token": token, "span": span}.items()
    for family in ("bert", "xlm-r")
}
"""What each golden case compares."""
