"""FILTER against its released code: both texts through all layers, three heads, and self-teaching."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import mm_kptm
from mm_kptm.batch import Encoded, Inputs, Tokens
from mm_kptm.crosslingual.objectives.self_teaching import class_teaching, edge_teaching, token_teaching
from mm_kptm.nn.positions import counted_positions
from mm_kptm.nn.visibility import Open
from mm_kptm.systems.system import System
from tests.golden.case import Answer, Case

#: Released states differ from ours in float64 by 2e-5 after 24 layers, by their own rounding.
ROUNDED = 1e-4
IGNORED = -100


def encoded(case: Case, head: dict[str, Any]) -> tuple[System, Encoded, tuple[Tensor, Tensor], Answer]:
    """The system, what it makes of both texts, where these are real, and both in a row per example.

    Losses of spans compare with padding too, so its rows are kept, seen by no other.
    """
    system = mm_kptm.load("filter", case.folder, heads=head).double()
    real = tuple(case.inputs[f"attention_mask_{side}"].bool() for side in (0, 1))
    pad = case.config["pad_token_id"]
    text, other = (
        Tokens.padded(
            ids, torch.ones_like(there), positions=counted_positions(ids, pad), attention_mask=Open(there.flatten())
        )
        for ids, there in zip((case.inputs["input_ids_0"], case.inputs["input_ids_1"]), real, strict=True)
    )
    found = system(Inputs(text=text, target=other))
    return system, found, (real[0], real[1]), in_rows(found.text, found["target"], (real[0], real[1]))


def in_rows(first: Tensor, second: Tensor, real: tuple[Tensor, Tensor]) -> Answer:
    """Rows of both texts, padding among them, as one padded tensor; its real positions are compared."""
    tables = [rows.unflatten(0, there.shape) for rows, there in zip((first, second), real, strict=True)]
    both = torch.cat(real, 1)
    return Answer(torch.cat(tables, 1)[both], both, atol=ROUNDED)


def mixed(case: Case, own: Tensor, second: Tensor, taught: Tensor) -> Tensor:
    alpha = case.config["alpha"]
    total = (1 - alpha) * own + alpha * taught if alpha else own
    return total if case.config["first_loss_only"] else total + second


def sequence(case: Case) -> dict[str, Answer]:
    given, settings = case.inputs, case.config
    system, found, real, hidden = encoded(case, {"classifier": {"num_classes": settings["num_labels"]}})
    score = system.head("classifier")
    logits = in_rows(score(found.text), score(found["target"]), real)
    own = score(found.pooled)
    loss = F.cross_entropy(own, given["labels"])
    # the released second term reads the second token of the first text
    second = F.cross_entropy(score(found.text.unflatten(0, real[0].shape)[:, 1]), given["labels"])
    taught = class_teaching(own, given["soft_labels"].double(), temperature=settings["temperature"])
    return {
        "hidden": hidden,
        "logits": logits,
        "loss": Answer(mixed(case, loss, second, taught)),
        "loss_other": Answer(loss),
        "loss_second": Answer(second),
        "loss_kd": Answer(taught),
    }


def token(case: Case) -> dict[str, Answer]:
    given, settings = case.inputs, case.config
    system, found, real, hidden = encoded(case, {"token-classifier": {"num_classes": settings["num_labels"]}})
    logits, english = (system.head("token-classifier")(states) for states in (found.text, found["target"]))
    labels = [given[f"labels_{side}"].where(there, IGNORED).flatten() for side, there in enumerate(real)]
    own, other = F.cross_entropy(logits, labels[0]), F.cross_entropy(english, labels[1])
    logits = logits.unflatten(0, real[0].shape)[real[0]]
    taught = token_teaching(logits, given["soft_labels_0"][real[0]].double(), temperature=settings["temperature"])
    alpha = settings["alpha"]
    return {
        "hidden": hidden,
        "logits": Answer(logits, real[0], atol=ROUNDED),
        "loss": Answer((1 - alpha) * own + alpha * taught + other if alpha else other),
        "loss_self": Answer(own),
        "loss_english": Answer(other),
        "loss_kd": Answer(taught),
    }


def span(case: Case) -> dict[str, Answer]:
    given, settings = case.inputs, case.config
    system, found, real, hidden = encoded(case, {"answer-spans": {}})
    edges = {
        side: dict(
            zip(
                ("start", "end"),
                system.head("answer-spans")(states).unflatten(0, real[side].shape).unbind(-1),
                strict=True,
            )
        )
        for side, states in enumerate((found.text, found["target"]))
    }
    losses = []
    for side, there in enumerate(real):
        length = there.shape[1]
        each = [
            F.cross_entropy(scores, given[f"{name}_{side}"].clamp(0, length), ignore_index=length)
            for name, scores in edges[side].items()
        ]
        losses.append(torch.stack(each).mean())
    taught = torch.stack(
        [
            edge_teaching(
                edges[0][name][real[0]],
                given[f"{name}_soft_0"][real[0]].double(),
                temperature=settings["temperature"],
            )
            for name in ("start", "end")
        ]
    ).mean()
    english = torch.zeros(()) if settings["first_loss_only"] else losses[1]
    return {
        "hidden": hidden,
        "start_logits": Answer(edges[0]["start"][real[0]], real[0], atol=ROUNDED),
        "end_logits": Answer(edges[0]["end"][real[0]], real[0], atol=ROUNDED),
        "loss": Answer(mixed(case, losses[0], losses[1], taught)),
        "loss_other": Answer(losses[0]),
        "loss_english": Answer(english),
        "loss_kd": Answer(taught),
    }


CASES = {"sequence": sequence, "token": token, "span": span}
"""What each system is asked in its golden cases."""
