"""Sizes of a few thousand parameters for systems of two towers, by family."""

from __future__ import annotations

from typing import Any

VIT = {"layers": 1, "width": 16, "head_width": 8, "patch_size": 8, "image_size": 16}
TEXT = {"layers": 2, "width": 16, "heads": 2, "vocab_size": 120, "context_length": 64}
BERT = {"dim": 16, "num_heads": 2, "num_layers": 2, "ffn_dim": 32, "vocab_size": 120, "max_positions": 64}
NETWORK = {
    "width_coefficient": 0.25,
    "depth_coefficient": 1.0,
    "depth_divisor": 4,
    "in_channels": [32, 16],
    "out_channels": [16, 64],
    "kernel_sizes": [3, 3],
    "strides": [1, 2],
    "expand_ratios": [1, 2],
    "num_block_repeats": [1, 1],
}
CLIP = {"architecture": "", "embed_dim": 8, "vision": VIT, "text": TEXT}

SIZES: dict[str, dict[str, Any]] = {
    "clip": CLIP,
    "open-clip": CLIP,
    "siglip": {**CLIP, "logit_bias": -10.0},
    "align": {"embed_dim": 16, "vision": NETWORK, "text": BERT, "image_size": 16},
    "altclip": {"embed_dim": 8, "text_dim": 12, "vision": VIT, "text": BERT},
    "dual-tower": {"embed_dim": 8, "image": VIT, "image_size": 16, "text": {"recipe": "bert-base", **BERT}},
}
BRIVL: dict[str, Any] = {
    "embed_dim": 8,
    "backbone": "identity",
    "image_dim": 3,
    "image_heads": 1,
    "image_layers": 1,
    "image_size": 16,
    "text": BERT,
    "text_heads": 2,
    "text_layers": 1,
    "ffn_dim": 12,
    "max_length": 16,
}
SIZES |= {"brivl": BRIVL, "brivl-2": BRIVL}
SIZES |= {
    "efficientnet": {"backbone": "test_efficientnet"},
    "simclr": {"backbone": "test_resnet"},
    "moco": {"backbone": "test_resnet"},
}
REGIONS = {"width": 16, "layers": 1, "heads": 2}
SIZES |= {"dual-tower-regions": {"embed_dim": 8, "image": REGIONS, "text": SIZES["dual-tower"]["text"]}}
