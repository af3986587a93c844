"""A small UNITER, a small LXMERT, and texts about images for them."""

import pytest
import torch

import mm_kptm
from mm_kptm.batch import Inputs, Regions, SequenceLayout, Tokens
from mm_kptm.systems.system import System

REGION_DIM = 12


def small_uniter(**sizes: int | float | None) -> System:
    """Two layers, without dropout unless it is asked for; all of the published pretraining's heads."""
    chosen = {"dim": 16, "num_heads": 2, "num_layers": 2, "ffn_dim": 32, "vocab_size": 40, "max_positions": 20}
    heads = ("masked-tokens", "masked-region-features", "image-text-matching")
    return mm_kptm.build(
        "uniter",
        heads={**{head: {} for head in heads}, "masked-region-classes": {"num_classes": 7}},
        seed=3,
        **{**chosen, "region_dim": REGION_DIM, "dropout": 0.0, **sizes},
    )


def small_lxmert() -> System:
    """Two layers of every kind, without dropout, with every head."""
    classes = {"masked-objects": {"num_objects": 7, "num_attributes": 3}, "question-answering": {"num_answers": 6}}
    chosen = {"dim": 16, "num_heads": 2, "ffn_dim": 32, "vocab_size": 40, "max_positions": 20}
    return mm_kptm.build(
        "lxmert",
        heads={"masked-tokens": {}, "image-text-matching": {}, **classes, "vqa": {"num_answers": 5}, "nlvr2": {}},
        seed=3,
        num_layers=2,
        num_region_layers=2,
        num_cross_layers=2,
        region_dim=REGION_DIM,
        dropout=0.0,
        **chosen,
    )


def regions_of(*counts: int, seed: int = 0) -> Regions:
    """Random regions, so many for each image, with the distribution of a detector with seven classes."""
    generator = torch.Generator().manual_seed(seed)
    total = sum(counts)
    corners = torch.rand(total, 2, generator=generator) * 0.5
    sizes = torch.rand(total, 2, generator=generator) * 0.5
    return Regions(
        features=torch.randn(total, REGION_DIM, generator=generator),
        boxes=torch.cat([corners, corners + sizes], dim=1),
        layout=SequenceLayout(counts),
        classes=torch.rand(total, 7, generator=generator).softmax(1),
    )


@pytest.fixture
def uniter() -> System:
    return small_uniter()


@pytest.fixture
def inputs() -> Inputs:
    """Three texts, each about its own image."""
    return Inputs(text=Tokens.of([[2, 7, 3], [2, 8, 9, 10, 3], [2, 11, 12, 13, 14, 3]]), regions=regions_of(2, 4, 3))
