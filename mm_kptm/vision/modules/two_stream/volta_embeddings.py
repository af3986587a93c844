"""Input embeddings of VOLTA's controlled models, by the original model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from mm_kptm.errors import UserError
from mm_kptm.nn.embeddings import TextEmbedding
from mm_kptm.vision.modules.two_stream.region_embeddings import (
    AveragedRegionEmbedding,
    PlacedRegionEmbedding,
    SummedRegionEmbedding,
    TypedRegionEmbedding,
)
from mm_kptm.vision.modules.two_stream.volta_vl_bert_embedding import VoltaVlBertEmbedding
from mm_kptm.vision.modules.two_stream.whole_image import TextBesideImage, TextBesidePlainRegions


def volta_embedding(
    name: str,
    text: TextEmbedding,
    *,
    region_dim: int,
    region_states: int,
    box_dim: int = 5,
    box_frequencies: int = 256,
    num_slots: int = 0,
    masks_words: bool = False,
    visual_scale: float = 0.0,
    whole_image: bool = True,
    dropout: float = 0.1,
) -> TextBesideImage:
    """Input embedding of the model of that name, with the whole image before the regions.

    Args:
        name: lxmert, uniter, vilbert, visualbert, vl-bert, xuniter or uc2.
        text: the text's embedding.
        region_dim: width of the regions' features.
        region_states: width of their stream; uniter and visualbert have that of the text.
        box_dim: how many numbers of a box lxmert, uniter and vilbert read.
        box_frequencies: of vl-bert; see
            :class:`~mm_kptm.vision.modules.two_stream.volta_vl_bert_embedding.VoltaVlBertEmbedding`.
        num_slots: of vl-bert, number of regions that images are padded to; 0 for none.
        masks_words: of vl-bert, whether masked regions have a separate token embedding.
        visual_scale: of vl-bert, of the visual part of words and regions at the start.
        whole_image: of all but vl-bert, whether a region of the whole image stands before the others.
        dropout: of the regions.

    Raises:
        UserError: there is no such model, or its two streams are to differ in width.
    """
    dim = text.word.embedding_dim
    boxed: dict[str, Any] = {"box_dim": box_dim, "dropout": dropout}
    regions: dict[str, Callable[[], nn.Module]] = {
        "lxmert": lambda: AveragedRegionEmbedding(region_dim, region_states, **boxed),
        "uniter": lambda: TypedRegionEmbedding(region_dim, dim, segment=text.segment, **boxed),
        "vilbert": lambda: SummedRegionEmbedding(region_dim, region_states, **boxed),
        "visualbert": lambda: PlacedRegionEmbedding(region_dim, text, dropout=dropout),
        "xuniter": lambda: TypedRegionEmbedding(region_dim, dim, segment=nn.Embedding(1, dim), kind=0, **boxed),
        "uc2": lambda: TypedRegionEmbedding(region_dim, dim, segment=text.segment, **boxed),
    }
    if name != "vl-bert" and name not in regions:
        raise UserError(f"VOLTA has the embeddings of {', '.join(regions)} and vl-bert, not of {name!r}")
    if name not in ("lxmert", "vilbert") and region_states != dim:
        raise UserError(
            f"{name} embeds text and regions alike, so both streams need one width, but the text has {dim} and the "
            f"regions {region_states}"
        )
    if name != "vl-bert":
        assembly = TextBesideImage if whole_image else TextBesidePlainRegions
        return assembly(text, regions[name](), region_dim=region_dim)
    return VoltaVlBertEmbedding(
        text,
        region_dim=region_dim,
        num_frequencies=box_frequencies,
        num_slots=num_slots,
        masks_words=masks_words,
        visual_scale=visual_scale,
        dropout=dropout,
    )
