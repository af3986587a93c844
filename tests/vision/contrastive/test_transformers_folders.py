"""Folders that transformers writes: features and losses of CLIP, AltCLIP and ALIGN at several sizes and activations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from torch.nn.functional import normalize

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.nn.positions import counted_positions
from mm_kptm.vision.contrastive.losses.info_nce import contrast_losses

VISION = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2, "patch_size": 4, "image_size": 8}
TEXT = {"hidden_size": 24, "num_attention_heads": 3, "num_hidden_layers": 2, "vocab_size": 60, "pad_token_id": 1}
NETWORK = {
    "image_size": 32, "depth_divisor": 8, "width_coefficient": 0.5, "in_channels": [32, 16], "out_channels": [16, 8],
    "kernel_sizes": [3, 5], "strides": [1, 2], "expand_ratios": [1, 6], "num_block_repeats": [1, 2],
    "depthwise_padding": [], "hidden_dim": 8,
}  # fmt: skip
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "clip": (
        "CLIP",
        {**TEXT, "intermediate_size": 73, "max_position_embeddings": 9, "eos_token_id": 2, "bos_token_id": 58},
        {**VISION, "intermediate_size": 16},
        {"projection_dim": 12},
    ),
    "clip-end": (
        "CLIP",
        {**TEXT, "hidden_act": "gelu_new", "max_position_embeddings": 9, "eos_token_id": 7, "bos_token_id": 58},
        {**VISION, "hidden_act": "gelu", "layer_norm_eps": 1e-3, "image_size": 12},
        {"projection_dim": 20},
    ),
    "altclip": (
        "AltCLIP",
        {**TEXT, "intermediate_size": 31, "max_position_embeddings": 20, "project_dim": 8, "layer_norm_eps": 1e-3},
        {**VISION, "hidden_act": "gelu"},
        {"projection_dim": 12},
    ),
    "align": ("Align", {**TEXT, "pad_token_id": 0, "max_position_embeddings": 12}, NETWORK, {"projection_dim": 8}),
}


def texts(case: str, padding: int) -> tuple[Tensor, Tensor]:
    """Ids [3, 9] and their attention mask; CLIP's end is the largest id, or the token that its configuration names."""
    ids, mask = torch.randint(8, 50, (3, 9)), torch.ones(3, 9, dtype=torch.long)
    for row, length in enumerate((9, 4, 6)):
        if case.startswith("clip"):
            ids[row, length - 1] = 59 if case == "clip" else 7
        ids[row, length:], mask[row, length:] = padding, 0
    return ids, mask


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_features_and_losses_are_those_of_transformers(case: str, tmp_path: Path) -> None:
    name, text, vision, more = CASES[case]
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(text_config=text, vision_config=vision, **more)
    theirs = getattr(transformers, f"{name}Model")(config).eval()
    for parameter in theirs.parameters():
        if parameter.dim():
            parameter.add_(0.05 * torch.randn_like(parameter))
    theirs.save_pretrained(tmp_path)
    encoder = mm_kptm.load(case.split("-")[0], tmp_path).encoder
    ids, mask = texts(case, text["pad_token_id"])
    pixels = torch.rand(3, 3, vision["image_size"], vision["image_size"])
    expected = theirs(input_ids=ids, attention_mask=mask, pixel_values=pixels, return_loss=True)
    positions = {"positions": counted_positions(ids, 1)} if case == "altclip" else {}
    inputs = Inputs(text=Tokens.padded(ids, mask, **positions))
    images, vectors = encoder.embed_images(pixels), encoder.embed_text(inputs)
    torch.testing.assert_close(normalize(images, dim=-1), expected.image_embeds, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(normalize(vectors, dim=-1), expected.text_embeds, atol=1e-6, rtol=1e-5)
    smoothing = 0.1 if case == "align" else 0.0
    losses = contrast_losses(images, vectors, encoder.similarity.scale(), label_smoothing=smoothing)
    torch.testing.assert_close(losses.mean(), expected.loss, atol=1e-6, rtol=1e-5)
