"""SimCLR's loss: the released code returns the sum of the means over both views."""

from __future__ import annotations

import torch

from mm_kptm.vision.contrastive.losses.views import ViewScores, nt_xent, view_scores
from tests.golden.case import Answer, Case


def losses(case: Case) -> dict[str, Answer]:
    hidden, temperatures = case.inputs["hidden"], case.inputs["temperatures"].tolist()
    first, second = hidden.chunk(2)
    answers = {}
    for number, temperature in enumerate(temperatures):
        scores: ViewScores = view_scores(first, second, temperature=temperature)
        answers[f"loss_{number}"] = Answer(scores.losses.mean(1).sum())
        answers[f"logits_ab_{number}"] = Answer(scores.first[:, : len(first)])
    plain = nt_xent(first, second, temperature=temperatures[0], normalized=False)
    answers["loss_unnormalised"] = Answer(2 * plain.mean())
    with torch.enable_grad():
        live = hidden.clone().requires_grad_()
        (2 * nt_xent(*live.chunk(2), temperature=temperatures[0]).mean()).backward()
    answers["grad_hidden_0"] = Answer(live.grad)
    return answers


CASES = {"nt-xent": losses}
