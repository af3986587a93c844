"""A small ViLBERT and small models of VOLTA, without dropout and with weights that let everything matter."""

from __future__ import annotations

from typing import Any

import torch

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.nn.init import bert_init
from mm_kptm.systems.system import System
from tests.vision.conftest import REGION_DIM, regions_of

SIZES: dict[str, Any] = {"dim": 16, "num_heads": 2, "ffn_dim": 32, "vocab_size": 40, "max_positions": 20}
DRY = dict.fromkeys(("dropout", "attention_dropout", "region_dropout", "region_attention_dropout"), 0.0)
EMBEDDINGS = ("lxmert", "uniter", "vilbert", "visualbert", "vl-bert")
SCHEDULES = {"lxmert": "tt+vv t+v tt t tv+vt= tt+vv t+v", "vilbert": "tt t tv+vt t+v tt+vv t+v"}


def vigorous(system: System) -> System:
    """With weights so large that what is read shows; at the published 0.02 so narrow a model hardly moves."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        bert_init(system, 0.3)
    for module in system.modules():
        if isinstance(module, torch.nn.LayerNorm):
            torch.nn.init.ones_(module.weight)  # those of VL-BERT's forms begin at zero, so that they would not see
    return system


def small_vilbert(name: str = "vilbert", *, heads: Any = None, **sizes: Any) -> System:
    """Three layers of text, two of regions, two co-attentions; all three widths differ."""
    chosen = {"num_layers": 3, "region_states": 24, "region_heads": 3, "num_region_layers": 2, "region_ffn_dim": 20}
    chosen |= {"cross_dim": 8, "cross_heads": 2, "num_cross_layers": 2, "region_dim": REGION_DIM}
    heads = {"masked-tokens": {}, "image-text-matching": {}, "masked-regions": {"num_classes": 7}} | (heads or {})
    return vigorous(mm_kptm.build(name, heads=heads, seed=3, **{**SIZES, **DRY, **chosen, **sizes}))


def small_volta(model: str, *, heads: Any = None, **sizes: Any) -> System:
    """A few sub-layers of every kind that the model has."""
    chosen = {"schedule": SCHEDULES.get(model, "tt+tv+vt+vv= t+v= tt+tv+vt+vv= t+v="), "pooled_dim": 10}
    chosen |= {"region_dim": REGION_DIM, "box_frequencies": 3}
    heads = {"masked-tokens": {}, "image-text-matching": {}, "masked-regions": {"num_classes": 7}} | (heads or {})
    return vigorous(mm_kptm.build(f"volta-{model}", heads=heads, seed=3, **{**SIZES, **DRY, **chosen, **sizes}))


def every_system() -> dict[str, System]:
    """All of them, by what makes them different."""
    return {
        "vilbert": small_vilbert(),
        "vilbert, sum": small_vilbert(fusion="sum"),
        "vilbert, guided": small_vilbert(guided=True),
        "12-in-1": small_vilbert("12-in-1"),
        **{f"volta-{embedding}": small_volta(embedding) for embedding in EMBEDDINGS},
        "volta, text alone pooled": small_volta("vilbert", fusion="text"),
        "volta, text reads all and regions the text": small_volta("vilbert", schedule="tt+tv+vt t+v tt+vv t"),
    }


def three_texts() -> Inputs:
    """Three texts, each about its own image."""
    return Inputs(text=Tokens.of([[2, 7, 3], [2, 8, 9, 10, 3], [2, 11, 12, 13, 14, 3]]), regions=regions_of(2, 4, 3))
