"""Pixel-BERT against its public re-implementation."""

from __future__ import annotations

import torch
import torch.nn.functional as F

import mm_kptm
from mm_kptm.batch import Inputs, SequenceLayout, Tokens
from mm_kptm.objectives.pairs import ImageTextMatching, Pairs
from mm_kptm.objectives.rows import RowTargets
from mm_kptm.objectives.tokens import MaskedTokens, Masking
from mm_kptm.vision.modules.single_stream.grid_features import cells_of, grid_places, select_cells
from tests.golden.case import Answer, Case


def pretrain(case: Case) -> dict[str, Answer]:
    """The cells that the other implementation drew are given; their places are read off the boxes of ours."""
    given = case.inputs
    system = mm_kptm.load("pixel-bert", case.folder, heads=["masked-tokens", "image-text-matching"])
    text = given["text_input_mask"].bool()
    cells = cells_of(given["visual_inputs"])
    count, height, width, _ = given["visual_inputs"].shape
    drawn = case.outputs["sampled_indices"]
    rows = (torch.arange(count)[:, None] * height * width + drawn).flatten()
    sampled = select_cells(cells, rows, SequenceLayout((len(drawn),) * count))
    row, column = grid_places(sampled.boxes[: len(drawn)])
    inputs = Inputs(text=Tokens.padded(given["text_input_ids"], text), regions=cells)
    labels = given["mlm_labels"][text]
    masked = (labels != -100).nonzero().squeeze(1)
    owners = inputs.text.layout.sequence_ids(masked.device)[masked]
    words = MaskedTokens(Masking(mask_id=4, pool=(5, 6), never=frozenset()))
    answers = {"sampled_indices": Answer(row * width + column)}
    for name, seen in (("sampled", inputs.with_streams(regions=sampled)), ("full", inputs)):
        depths = list(system.hidden_states(seen))
        joint = F.pad(text, (0, seen.regions.layout.lengths[0]), value=True)
        encoded = system(seen)
        answers |= {
            f"{name}.embeddings": Answer(depths[0].x, joint),
            f"{name}.sequence": Answer(depths[-1].x, joint),
            f"{name}.mlm_loss": Answer(words.loss(system, RowTargets(seen, masked, labels[masked], owners)).reshape(1)),
            f"{name}.itm_scores": Answer(system.head("image-text-matching")(encoded.pooled)),
            f"{name}.itm_loss": Answer(ImageTextMatching().loss(system, Pairs(seen, given["itm_labels"])).reshape(1)),
        }
        if name == "sampled":
            answers["sampled.mlm_logits"] = Answer(system.head("masked-tokens")(encoded.text), text)
    return answers


CASES = {"pretrain": pretrain}
