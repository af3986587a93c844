"""mUNITER, xUNITER and UC2 in the form of IGLUE: VOLTA's UNITER on multilingual text encoders."""

from functools import partial
from typing import Any

from mm_kptm.systems.recipe import Recipe
from mm_kptm.vision.modules.two_stream.sublayer_schedule import joined
from mm_kptm.vision.recipes.volta import HEADS, volta
from mm_kptm.vision.recipes.volta_layout import FIELDS, OURS, READ, Published, infer_heads, read_config, weights_of

_IGLUE = "in the form of Bugliarello et al. 2022, IGLUE, ICML, arXiv:2201.11732"
_MARVL = "Liu et al. 2021, Visually Grounded Reasoning across Languages and Cultures, EMNLP, arXiv:2109.13238"
_UC2 = (
    "Zhou et al. 2021, UC2: Universal Cross-lingual Cross-modal Vision-and-Language Pre-training, CVPR, "
    "arXiv:2104.00332"
)

#: XLM-R's text: positions begin behind the padding id, whose row of the table no token reads.
_XLM_R: dict[str, Any] = {"vocab_size": 250002, "max_positions": 514, "position_offset": 2}

_SHARED: dict[str, Any] = {
    "family": "iglue",
    "build": volta,
    "reads": frozenset({"text", "regions"}),
    "heads": HEADS,
    "objectives": ("vilbert-pretraining",),
    "pretraining_heads": ("masked-tokens", "image-text-matching", "masked-regions"),
    "read_fields": READ,
    "infer_heads": infer_heads,
    "infer_from_shapes": {
        "region_dim": (f"{OURS}.feature.weight", 1),
        "vocab_size": ("encoder.embed.text.word.weight", 0),
        "max_positions": ("encoder.embed.text.position.weight", 0),
        "num_segments": ("encoder.embed.text.segment.weight", 0),
    },
}

_NOTES = (
    "pretraining alternates batches of English captions with images and batches of text alone in 104 languages",
    "the published label of a pair is 0 where it matches; image-text-matching has 1 there, as all systems here",
)

#: Fields of the configurations of models on RoBERTa's text, whose eps is their own.
_FIELDS = {**FIELDS, "layer_norm_eps": "norm_eps"}

MUNITER = Recipe(
    **_SHARED,
    name="muniter",
    paper=f"{_MARVL}; mUNITER {_IGLUE}",
    weights=weights_of("uniter"),
    sizes={"embedding": "uniter", "schedule": joined(12), "vocab_size": 119547},
    config_keys=FIELDS,
    read_config=partial(read_config, model=Published("uniter", "muniter")),
    model_types=("bert", "volta"),
    notes=(*_NOTES, "starts from multilingual BERT, whose row 1 of the segments the regions take"),
)

XUNITER = Recipe(
    **_SHARED,
    name="xuniter",
    paper=f"{_MARVL}; xUNITER {_IGLUE}",
    weights=weights_of("xuniter"),
    sizes={"embedding": "xuniter", "schedule": joined(12), "num_segments": 1, **_XLM_R},
    config_keys=_FIELDS,
    read_config=partial(read_config, model=Published("uniter", "xuniter", roberta=True)),
    model_types=("xlm-roberta", "roberta", "volta"),
    notes=(
        *_NOTES,
        "starts from XLM-R; regions have a segment table of their own, of one row",
        "the published configuration names no eps, so that 1e-12 stands where XLM-R was trained with 1e-5",
        "the released code counts positions from 0 where they are given; here they begin behind the padding id always",
    ),
)

VOLTA_UC2 = Recipe(
    **_SHARED,
    name="volta-uc2",
    paper=f"{_UC2}; {_IGLUE}",
    weights=weights_of("uc2", segments="new_token_type_embeddings"),
    sizes={
        "embedding": "uc2",
        "schedule": joined(12),
        "box_dim": 7,
        "whole_image": False,
        "norm_eps": 1e-5,
        "fusion": "text",
        "pooled_dim": 768,
        **_XLM_R,
    },
    config_keys=_FIELDS,
    read_config=partial(read_config, model=Published("uc2", "volta-uc2", roberta=True, place=None)),
    model_types=("xlm-roberta", "roberta", "volta"),
    notes=(
        _NOTES[1],
        "the recipe uc2 reads the checkpoints of UC2's own code; these have other names and no vector of masked "
        "regions",
        "the pooler bends by ReLU, the default of IGLUE's code, where UC2's own has tanh",
    ),
)
