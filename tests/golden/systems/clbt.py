"""CLBT's alignment policies, losses and maps."""

import re

import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from mm_kptm.crosslingual.alignment.contextual_maps import (
    FeedForwardMap,
    LinearMap,
    cosine_loss,
    margin_loss,
    mean_cosine,
    procrustes,
    squared_distance,
)
from mm_kptm.crosslingual.alignment.word_pairs import aligned_rows, piece_pairs
from tests.golden.case import Answer, Case


def maps(case: Case) -> dict[str, Answer]:
    inputs, config = case.inputs, case.config
    source = aligned_rows(inputs["emb_a"], inputs["align_a"], inputs["align_mask"])
    target = aligned_rows(inputs["emb_b"], inputs["align_b"], inputs["align_mask"])
    answers = {"source_vectors": source, "target_vectors": target, "mean_cosine": mean_cosine(source, target)}
    for suffix, pair in (("", (source, target)), ("_normalised", (F.normalize(source), F.normalize(target)))):
        margins = {f"loss_margin{k}{suffix}": margin_loss(*pair, k=int(k)) for k in numbers(case, r"loss_margin(\d+)")}
        answers |= {
            f"loss_l2_dist{suffix}": squared_distance(*pair),
            f"loss_cos_sim{suffix}": cosine_loss(*pair),
            **margins,
        }
    linear = LinearMap(config["hidden"])
    optimizer = torch.optim.SGD(linear.parameters(), lr=config["sgd_lr"])
    for step in sorted(numbers(case, r"step(\d+)_loss"), key=int):
        with torch.enable_grad():
            loss = squared_distance(linear(source), target)
            optimizer.zero_grad()
            loss.backward()
        answers |= {f"step{step}_loss": loss, f"step{step}_cosine": mean_cosine(linear(source), target)}
        optimizer.step()
        answers[f"step{step}_weight"] = linear.weight.clone()
    rotation = LinearMap(config["hidden"], procrustes(source, target))
    answers |= {
        "procrustes": rotation.weight,
        "procrustes_cosine": mean_cosine(rotation(source), target),
        "procrustes_loss": squared_distance(rotation(source), target),
    }
    shape = config["nonlinear"]
    nonlinear = FeedForwardMap(
        config["hidden"],
        hidden_dim=shape["hidden"],
        num_layers=shape["layers"],
        activation=shape["activation"],
        negative_slope=shape.get("leaky_slope", 0.1),
    )
    nonlinear.load_state_dict(load_file(case.folder / "weights.safetensors"))
    answers["nonlinear_mapped"] = nonlinear(inputs["emb_a"])
    for policy in ("1to1", "first", "mid", "last"):
        for number, line in enumerate(config["alignment_lines"]):
            answers[f"align_{policy}_{number}"] = piece_pairs(line, policy)
    return {name: Answer(value) for name, value in answers.items()}


def numbers(case: Case, pattern: str) -> set[str]:
    """Numbers in the names of the official outputs."""
    return {found[1] for name in case.outputs if (found := re.match(pattern, name))}


CASES = {"maps": maps}
"""What each golden case compares."""
