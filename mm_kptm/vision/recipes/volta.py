"""VOLTA: LXMERT, UNITER, ViLBERT, VisualBERT and VL-BERT at equal size, with equal inputs, heads and pretraining."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from torch import nn

from mm_kptm.errors import UserError
from mm_kptm.nn.embeddings import TextEmbedding
from mm_kptm.nn.heads import Classifier
from mm_kptm.nn.init import bert_init
from mm_kptm.nn.sublayers import set_norm_eps
from mm_kptm.nn.submodules import submodule
from mm_kptm.recipes.bert import activation_of, masked_tokens, norm_of
from mm_kptm.systems.recipe import Recipe
from mm_kptm.vision.modules.assembly import TextBesideRegions
from mm_kptm.vision.modules.heads import PooledPairs
from mm_kptm.vision.modules.two_stream.fused_two_stream import FusedPooler, FusedTwoStream
from mm_kptm.vision.modules.two_stream.gated_sublayers import StreamSizes, gated_steps
from mm_kptm.vision.modules.two_stream.pooled_heads import image_text_matching, retrieval, visual_entailment
from mm_kptm.vision.modules.two_stream.region_heads import MaskedRegionHead, chosen_widths
from mm_kptm.vision.modules.two_stream.sublayer_schedule import joined, side_by_side, text_first
from mm_kptm.vision.modules.two_stream.volta_embeddings import volta_embedding
from mm_kptm.vision.modules.two_stream.volta_vl_bert_embedding import VoltaVlBertEmbedding
from mm_kptm.vision.objectives.region_targets import target_widths
from mm_kptm.vision.recipes.from_bert import volta_layers
from mm_kptm.vision.recipes.volta_layout import (
    FIELDS,
    OURS,
    READ,
    Published,
    infer_heads,
    read_config,
    weights_of,
)

M = TypeVar("M", bound=nn.Module)


def volta(
    *,
    embedding: str = "vilbert",
    schedule: str = text_first(6, 6),
    own_sizes: Mapping[str, Mapping[str, int]] | None = None,
    dim: int = 768,
    num_heads: int = 12,
    ffn_dim: int = 3072,
    region_states: int | None = None,
    region_heads: int | None = None,
    region_ffn_dim: int | None = None,
    pooled_dim: int = 1024,
    vocab_size: int = 30522,
    max_positions: int = 512,
    num_segments: int = 2,
    region_dim: int = 2048,
    box_dim: int = 5,
    box_frequencies: int = 256,
    num_slots: int = 0,
    masks_words: bool = False,
    visual_scale: float = 0.0,
    whole_image: bool = True,
    position_offset: int = 0,
    norm_eps: float = 1e-12,
    fusion: str = "mul",
    pooler_activation: str = "relu",
    activation: str = "gelu",
    region_activation: str = "gelu",
    dropout: float = 0.1,
    attention_dropout: float = 0.1,
    region_dropout: float = 0.1,
    region_attention_dropout: float = 0.1,
) -> FusedTwoStream:
    """The gated encoder of Bugliarello et al. (2021, section 3.3).

    Sizes beside the usual ones:
        embedding: input embedding of lxmert, uniter, vilbert, visualbert, vl-bert, xuniter or uc2.
        schedule: schedule of the sub-layers, see :mod:`mm_kptm.vision.modules.two_stream.sublayer_schedule`.
        own_sizes: sizes of single sub-layers by their number: width, num_heads and ffn_dim of the text's part,
            region_width, region_heads and region_ffn_dim of the regions'.
        region_states: width of the regions' stream, where ``region_dim`` is that of their features; as wide as the text
            unless given, and so are ``region_heads`` and ``region_ffn_dim``.
        box_dim: how many numbers of a box the embeddings of LXMERT, UNITER and ViLBERT read.
        box_frequencies: of VL-BERT's embedding; so are ``num_slots``, ``masks_words`` and ``visual_scale``, see
            :class:`~mm_kptm.vision.modules.two_stream.volta_vl_bert_embedding.VoltaVlBertEmbedding`.
        whole_image: whether a region of the whole image stands before the others.
        position_offset: position of the first token, the padding id + 1 where the text is RoBERTa's.

    Raises:
        UserError: an unknown embedding, or an invalid schedule or sub-layer sizes.
    """
    region_states = dim if region_states is None else region_states
    region_heads = num_heads if region_heads is None else region_heads
    region_ffn_dim = ffn_dim if region_ffn_dim is None else region_ffn_dim
    text = StreamSizes(dim, num_heads, ffn_dim, activation, dropout, attention_dropout)
    regions = StreamSizes(
        region_states, region_heads, region_ffn_dim, region_activation, region_dropout, region_attention_dropout
    )
    steps = gated_steps(schedule, text, regions, {} if own_sizes is None else own_sizes)
    words = TextEmbedding(
        vocab_size,
        dim,
        max_positions=max_positions,
        num_segments=num_segments,
        position_offset=position_offset,
        dropout=dropout,
    )
    embed = volta_embedding(
        embedding,
        words,
        region_dim=region_dim,
        region_states=region_states,
        box_dim=box_dim,
        box_frequencies=box_frequencies,
        num_slots=num_slots,
        masks_words=masks_words,
        visual_scale=visual_scale,
        whole_image=whole_image,
        dropout=region_dropout,
    )
    pooler = FusedPooler(dim, region_states, pooled_dim, fusion=fusion, activation=pooler_activation)
    encoder = _fresh(FusedTwoStream(embed, steps, pooler, dim=dim, region_states=region_states))
    set_norm_eps(encoder, norm_eps)
    return encoder


def masked_regions(
    encoder: FusedTwoStream,
    *,
    targets: str = "distributions",
    num_classes: int = 1601,
    num_objects: int = 1600,
    num_attributes: int = 400,
    normalized: bool | None = None,
) -> MaskedRegionHead:
    """Masked-region head (Bugliarello et al. 2021, appendix B).

    ``targets`` are names of :data:`~mm_kptm.vision.objectives.region_targets.TARGETS` with spaces between them, in the
    order of ``visual_target_weights``. The activation is that of the text. A norm ends the transform
    (``image_head_ln``) unless the embeddings are VL-BERT's, or as ``normalized`` says.
    """
    region_dim = submodule(encoder, "embed", TextBesideRegions).region_dim
    sizes = target_widths(region_dim, num_classes=num_classes, num_objects=num_objects, num_attributes=num_attributes)
    widths = chosen_widths(targets, sizes)
    normalized = not isinstance(encoder.embed, VoltaVlBertEmbedding) if normalized is None else normalized
    alike: dict[str, Any] = {"activation": activation_of(encoder), "norm": norm_of(encoder)}
    return _fresh(MaskedRegionHead(encoder.region_states, widths, normalized=normalized, **alike))


def vqa(encoder: FusedTwoStream, *, num_answers: int = 3129, inner_dim: int = 1536) -> Classifier:
    """Logits of all answers from the pooled vector; GQA is the same with its own answers."""
    return _fresh(Classifier(encoder.pooled_dim, num_answers, inner_dim=inner_dim))


def nlvr2(encoder: FusedTwoStream, *, num_classes: int = 2, inner_dim: int = 1536) -> PooledPairs:
    """False (0) or true (1) of a text about two images, from the two pooled vectors."""
    return _fresh(PooledPairs(encoder.pooled_dim, num_classes=num_classes, inner_dim=inner_dim))


def grounding(encoder: FusedTwoStream, *, num_layers: int = 1) -> nn.Module:
    """One logit per region state: a linear layer, or two with GELU between them (``num_clf_layers``).

    Raises:
        UserError: another number of layers.
    """
    if num_layers not in (1, 2):
        raise UserError(f"the head grounding has 1 or 2 layers, not {num_layers}")
    width = encoder.region_states
    if num_layers == 1:
        return _fresh(nn.Linear(width, 1))
    return _fresh(nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Dropout(0.1), nn.Linear(width, 1)))


def _fresh(module: M) -> M:
    bert_init(module)
    return module


#: Heads of pretraining and of the tasks.
HEADS: dict[str, Callable[..., nn.Module]] = {
    "masked-tokens": masked_tokens,
    "image-text-matching": image_text_matching,
    "masked-regions": masked_regions,
    "vqa": vqa,
    "nlvr2": nlvr2,
    "retrieval": retrieval,
    "visual-entailment": visual_entailment,
    "grounding": grounding,
}


def _recipe(embedding: str, schedule: str, *, of: str, **sizes: Any) -> Recipe:
    """One of the five controlled models."""
    region_shape = (f"{OURS}.mask" if embedding == "vl-bert" else f"{OURS}.feature.weight", 1)
    return Recipe(
        name=f"volta-{embedding}",
        family="volta",
        paper="Bugliarello et al. 2021, Multimodal Pretraining Unmasked: A Meta-Analysis and a Unified Framework of "
        f"Vision-and-Language BERTs, TACL, arXiv:2011.15124; the controlled form of {of}",
        build=volta,
        model_types=("bert", "volta"),
        reads=frozenset({"text", "regions"}),
        heads=HEADS,
        objectives=("vilbert-pretraining",),
        objective_arguments={"vilbert-pretraining": {"num_negatives": 128}},
        pretraining_heads=("masked-tokens", "image-text-matching", "masked-regions"),
        task_losses={"grounding": "overlap", "retrieval": "choice"},
        weights=weights_of(embedding),
        sizes={"embedding": embedding, "schedule": schedule, **sizes},
        config_keys=FIELDS,
        read_config=partial(read_config, model=Published(embedding, f"volta-{embedding}")),
        read_fields=READ,
        infer_heads=infer_heads,
        convert_state=partial(volta_layers, schedule=schedule, num_segments=sizes.get("num_segments", 2)),
        infer_from_shapes={"region_dim": region_shape, "vocab_size": ("encoder.embed.text.word.weight", 0)},
        notes=(
            "the controlled form is not the original: boxes are 5 numbers, the whole image stands before the regions, "
            "and both streams are pooled",
            "the published label of a pair is 0 where it matches; image-text-matching has 1 there, as all systems here",
            "a checkpoint of BERT is a start: load its folder with fresh=['encoder.', 'heads.']; its layers become "
            "those sub-layers in which the text reads itself",
            "a fine-tuned file has one head under the number of its task: name the head that is meant, as in "
            "heads=['nlvr2']",
            *(VL_BERT_NOTES if embedding == "vl-bert" else ()),
        ),
    )


VL_BERT_NOTES = (
    "words see the last region, as with the 36 boxes of every published image; for features with fewer boxes in some "
    "images the released loader leaves an empty last slot: num_slots=37 does the same",
    "fresh norms of what is seen start at 1, where the released code starts them at 0",
    "the released code shifts positions of words by the batch's shortest text; here results do not depend on the batch",
)

VOLTA_VILBERT = _recipe("vilbert", text_first(6, 6), of="ViLBERT")
VOLTA_LXMERT = _recipe("lxmert", side_by_side(9, 5, 5), of="LXMERT")
VOLTA_UNITER = _recipe("uniter", joined(12), of="UNITER")
VOLTA_VISUALBERT = _recipe("visualbert", joined(12), of="VisualBERT")
VOLTA_VL_BERT = _recipe("vl-bert", joined(12), of="VL-BERT", num_segments=3)
