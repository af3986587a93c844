"""MultiFiT: the language model over consecutive windows, and the classifier of padded documents."""

import torch
import torch.nn.functional as F

import mm_kptm
from mm_kptm.batch import Tokens
from mm_kptm.batch.rows import layout_of
from mm_kptm.recipes.multifit import concatenated
from tests.golden.case import Answer, Case


def qrnn(case: Case) -> dict[str, Answer]:
    settings, given = case.config, case.inputs
    system = mm_kptm.load("multifit", case.folder)
    answers: dict[str, Answer] = {}
    states, start = None, 0
    for number, width in enumerate(settings["lm_windows"]):
        read, written = (given["stream"][:, begin : begin + width] for begin in (start, start + 1))
        tokens = Tokens.padded(read, torch.ones_like(read))
        layers, states = system.encoder.read(tokens, states)
        logits = system.head("next-tokens")(layers[-1])
        answers |= {
            **{f"lm_raw_{number}_{depth}": Answer(x.unflatten(0, read.shape)) for depth, x in enumerate(layers)},
            f"lm_logits_{number}": Answer(logits.unflatten(0, read.shape)),
            f"lm_loss_{number}": Answer(F.cross_entropy(logits, written.flatten())),
        }
        start += width
    real = given["text"] != settings["pad"]
    text = Tokens.padded(given["text"], torch.ones_like(real))  # the recurrence reads the padding in front
    last = system.encoder.read(text)[0][-1]
    layout, rows = system.encoder.pooled_rows(text.layout, last.device)
    kept = real.flatten()[rows]
    pooled = concatenated(last[rows][kept], layout_of(kept.view(len(layout), -1)))
    logits = system.head("classifier")(pooled)
    return {
        **answers,
        "pool_mask": Answer(~kept.view(len(layout), -1)),
        "pooled": Answer(pooled),
        "logits": Answer(logits),
        "loss": Answer(F.cross_entropy(logits, given["labels"])),
        "loss_smoothed": Answer(F.cross_entropy(logits, given["labels"], label_smoothing=settings["label_smoothing"])),
    }


CASES = {"qrnn": qrnn}
"""What each golden case compares."""
