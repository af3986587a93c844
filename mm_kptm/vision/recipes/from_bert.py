"""Starts from BERT of systems that name its parameters otherwise, or have more segments."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from mm_kptm.recipes.bert import embedding_rules, layer_rules, vocabulary_rules
from mm_kptm.systems.rules import Drop, Rename, Rule
from mm_kptm.vision.modules.two_stream.sublayer_schedule import sublayers

SEGMENTS = "bert.embeddings.token_type_embeddings.weight"
_LAYER = re.compile(r"bert\.encoder\.layer\.(\d+)\.(attention\.self|attention\.output|intermediate|output)\.(.+)")
NEVER_READ: tuple[Rule, ...] = (
    Drop("bert.pooler.dense.{leaf}", because="text and image have poolers of another width, which start fresh"),
    Drop("cls.seq_relationship.{leaf}", because="next-sentence prediction has no place here"),
)

#: VL-BERT's encoder from BERT; a pooler, where it has one, starts fresh.
VL_BERT_START: tuple[Rule, ...] = (
    *(rule for rule in embedding_rules("bert.embeddings", "encoder.embed.text") if "LayerNorm" not in rule.theirs),
    Rename("bert.embeddings.LayerNorm.{leaf}", "encoder.embed.norm.{leaf}"),
    Drop("bert.embeddings.position_ids", because="a buffer that counts from 0"),
    *layer_rules("bert.encoder.layer.{i}", "encoder.layers.{i}"),
    *vocabulary_rules("bert.embeddings.word_embeddings.weight"),
    *NEVER_READ,
)


def vlp_segments(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """BERT's two segments as VLP's six: 2, 3 and 4 are copies of 0, and 5 of 1 (Zhou et al. 2020, released code)."""
    table = tensors.get(SEGMENTS)
    if table is None or len(table) != 2:
        return tensors
    return {**tensors, SEGMENTS: table[[0, 1, 0, 0, 0, 1]]}


def regions_segment(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """BERT's two segments and a third one of zeros, that of VL-BERT's regions; the released code draws it."""
    table = tensors.get(SEGMENTS)
    if table is None or len(table) != 2:
        return tensors
    return {**tensors, SEGMENTS: torch.cat([table, torch.zeros_like(table[:1])])}


def volta_layers(tensors: Mapping[str, Tensor], *, schedule: str, num_segments: int = 2) -> Mapping[str, Tensor]:
    """BERT's layers as the sub-layers of VOLTA in which the text reads itself, one after the other.

    The published configurations say the same as ``bert_layer2attn_sublayer`` and ``bert_layer2ff_sublayer``.
    """
    if not any(".attention.self." in name for name in tensors):
        return tensors
    words = sublayers(schedule)
    attention = [number for number, word in enumerate(words) if "tt" in word.reads]
    feed = [next(n for n in range(number, len(words)) if "t" in words[n].feeds) for number in attention]
    converted = {}
    for name, tensor in tensors.items():
        if (found := _LAYER.fullmatch(name)) is None:
            converted[name] = tensor
            continue
        layer, part, leaf = int(found[1]), found[2], found[3]
        if layer < len(attention):
            number = attention[layer] if part.startswith("attention") else feed[layer]
            converted[f"bert.encoder.layer.{number}.{part.replace('.', '_')}.{leaf}"] = tensor
    return regions_segment(converted) if num_segments == 3 else converted
