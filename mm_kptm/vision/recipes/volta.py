"""VOLTA: LXMERT, UNITER, ViLBERT, VisualBERT and VL-BERT at equal size, with equal inputs, heads and pretraining."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, TypeVar

from torch import nn

from mm_kptm.errors import UserError
from mm_kptm.nn.embeddings import TextEmbedding
from mm_kptm.nn.heads import Classifier
from mm_kptm.nn.init import bert_init
from mm_kptm.nn.submodules import submodule
from mm_kptm.recipes.bert import BERT_FIELDS, activation_of, embedding_rules, masked_tokens, vocabulary_rules
from mm_kptm.systems.norm_eps import takes_norm_eps
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.rules import Drop, OneOf, Rename, Rule, Same
from mm_kptm.vision.modules.assembly import TextBesideRegions
from mm_kptm.vision.modules.heads import PooledPairs
from mm_kptm.vision.modules.two_stream.fused_two_stream import FusedPooler, FusedTwoStream
from mm_kptm.vision.modules.two_stream.gated_sublayers import StreamSizes, gated_steps, own_sizes_in
from mm_kptm.vision.modules.two_stream.pooled_heads import image_text_matching, retrieval, visual_entailment
from mm_kptm.vision.modules.two_stream.region_heads import MaskedRegionHead, chosen_widths
from mm_kptm.vision.modules.two_stream.sublayer_schedule import joined, schedule_in, side_by_side, text_first
from mm_kptm.vision.modules.two_stream.volta_embeddings import volta_embedding
from mm_kptm.vision.modules.two_stream.volta_vl_bert_embedding import VoltaVlBertEmbedding
from mm_kptm.vision.objectives.region_targets import TARGETS, target_widths

M = TypeVar("M", bound=nn.Module)


@takes_norm_eps
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
        embedding: input embedding of lxmert, uniter, vilbert, visualbert or vl-bert.
        schedule: schedule of the sub-layers, see :mod:`mm_kptm.vision.modules.two_stream.sublayer_schedule`.
        own_sizes: sizes of single sub-layers by their number: width, num_heads and ffn_dim of the text's part,
            region_width, region_heads and region_ffn_dim of the regions'.
        region_states: width of the regions' stream, where ``region_dim`` is that of their features; as wide as the text
            unless given, and so are ``region_heads`` and ``region_ffn_dim``.
        box_dim: how many numbers of a box the embeddings of LXMERT, UNITER and ViLBERT read.
        box_frequencies: of VL-BERT's embedding; so are ``num_slots`` and ``masks_words``, see
            :class:`~mm_kptm.vision.modules.two_stream.volta_vl_bert_embedding.VoltaVlBertEmbedding`.

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
    words = TextEmbedding(vocab_size, dim, max_positions=max_positions, num_segments=num_segments, dropout=dropout)
    embed = volta_embedding(
        embedding,
        words,
        region_dim=region_dim,
        region_states=region_states,
        box_dim=box_dim,
        box_frequencies=box_frequencies,
        num_slots=num_slots,
        masks_words=masks_words,
        dropout=region_dropout,
    )
    pooler = FusedPooler(dim, region_states, pooled_dim, fusion=fusion, activation=pooler_activation)
    return _fresh(FusedTwoStream(embed, steps, pooler, dim=dim, region_states=region_states))


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
    bend = activation_of(encoder)
    return _fresh(MaskedRegionHead(encoder.region_states, widths, activation=bend, normalized=normalized))


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


def _refuse(asked: str, instead: str) -> UserError:
    return UserError(f"this configuration of VOLTA asks for {asked}, which is not built; {instead}")


def read_config(config: Mapping[str, Any], *, embedding: str) -> dict[str, Any]:
    """Sizes and options of a published configuration.

    Raises:
        UserError: it is of another model, or has an option that the recipe does not support.
    """
    if (other := config.get("image_embeddings", embedding)) != embedding:
        if other not in EMBEDDINGS:
            raise _refuse(f"image_embeddings {other}", f"there are {', '.join(EMBEDDINGS)}")
        raise UserError(
            f"this configuration has image_embeddings {other}, but volta-{embedding} was asked for; load it as "
            f"volta-{other}"
        )
    if (place := config.get("add_global_imgfeat", "first")) != "first":
        raise _refuse(f"add_global_imgfeat {place}", "the controlled models have the whole image first")
    if (fusion := config.get("fusion_method", "mul")) in ("none", "vl-bert_vqa"):
        raise _refuse(f"fusion_method {fusion}", "there are mul, sum and text")
    if config.get("v_pooler_size", size := config.get("pooler_size")) != size and fusion != "text":
        raise _refuse(f"v_pooler_size {config['v_pooler_size']} beside pooler_size {size}", "make them equal")
    if "roberta" in f"{config.get('model', '')} {config.get('bert_model', '')}":
        raise _refuse("a text stream of RoBERTa (model, bert_model)", "the controlled models have one of BERT")
    if config.get("qa_task_weight"):
        raise _refuse(f"qa_task_weight {config['qa_task_weight']}", "fine-tune the head vqa on questions")
    if config.get("fixed_layers"):
        raise _refuse(f"fixed_layers {config['fixed_layers']}", "leave these layers out of the optimiser")
    sizes: dict[str, Any] = {}
    if (schedule := schedule_in(config)) is not None:
        sizes["schedule"] = schedule
    if own := own_sizes_in(config):
        sizes["own_sizes"] = own
    if config.get("v_coordinate_embeddings_dim") is not None:
        sizes["box_frequencies"] = config["v_coordinate_embeddings_dim"]
    if "6" in config.get("visual_target_weights", {}):
        sizes["masks_words"] = config["visual_target_weights"]["6"] > 0
    return sizes


_LAYER, _STEP = "bert.encoder.layer.{i}", "encoder.steps.{i}"


def _sublayer_rules() -> Iterator[Rule]:
    """Key renamings of sub-layers; shared ones are published under both names and stored under that of the text."""
    for mark, side in (("", "left"), ("v_", "right")):
        for role in ("query", "key", "value"):
            yield Rename(f"{_LAYER}.attention_self.{mark}{role}.{{leaf}}", f"{_STEP}.{side}.attention.{role}.{{leaf}}")
        yield Rename(f"{_LAYER}.attention_output.{mark}dense.{{leaf}}", f"{_STEP}.{side}.attention.out_proj.{{leaf}}")
        yield Rename(f"{_LAYER}.attention_output.{mark}LayerNorm.{{leaf}}", f"{_STEP}.{side}.norm.{{leaf}}")
        yield Rename(f"{_LAYER}.intermediate.{mark}dense.{{leaf}}", f"{_STEP}.{side}.up_proj.{{leaf}}")
        yield Rename(f"{_LAYER}.output.{mark}dense.{{leaf}}", f"{_STEP}.{side}.down_proj.{{leaf}}")
        yield Rename(f"{_LAYER}.output.{mark}LayerNorm.{{leaf}}", f"{_STEP}.{side}.norm.{{leaf}}")


def _task_rules() -> Iterator[Rule]:
    """Key renamings of the head of one task, published under the task's number."""
    for number, ours in (("0", "transform.dense"), ("2", "transform.norm"), ("3", "out")):
        heads = tuple(f"heads.{head}.{ours}.{{leaf}}" for head in ("vqa", "nlvr2"))
        yield OneOf(f"clfs_dict.{{task}}.logit_fc.{number}.{{leaf}}", heads)
    for number in ("0", "3"):
        yield Rename(f"clfs_dict.{{task}}.{number}.{{leaf}}", f"heads.grounding.{number}.{{leaf}}")
    single = ("retrieval", "visual-entailment", "grounding")
    yield OneOf("clfs_dict.{task}.{leaf}", tuple(f"heads.{head}.{{leaf}}" for head in single))


_DUAL, _JOINT, _OURS = "bert.v_embeddings", "bert.embeddings", "encoder.embed.regions"

#: Region key renamings of each model, and its sizes and heads beyond the common ones.
EMBEDDINGS: dict[str, tuple[Rule, ...]] = {
    "vilbert": (
        Rename(f"{_DUAL}.image_embeddings.{{leaf}}", f"{_OURS}.feature.{{leaf}}"),
        Rename(f"{_DUAL}.image_location_embeddings.{{leaf}}", f"{_OURS}.box.{{leaf}}"),
        Rename(f"{_DUAL}.LayerNorm.{{leaf}}", f"{_OURS}.norm.{{leaf}}"),
    ),
    "lxmert": (
        Rename(f"{_DUAL}.image_embeddings.{{leaf}}", f"{_OURS}.feature.{{leaf}}"),
        Rename(f"{_DUAL}.image_location_embeddings.{{leaf}}", f"{_OURS}.box.{{leaf}}"),
        Rename(f"{_DUAL}.ImgLayerNorm.{{leaf}}", f"{_OURS}.feature_norm.{{leaf}}"),
        Rename(f"{_DUAL}.LocLayerNorm.{{leaf}}", f"{_OURS}.box_norm.{{leaf}}"),
    ),
    "uniter": (
        Rename(f"{_JOINT}.image_embeddings.{{leaf}}", f"{_OURS}.feature.{{leaf}}"),
        Rename(f"{_JOINT}.image_location_embeddings.{{leaf}}", f"{_OURS}.box.{{leaf}}"),
        Rename(f"{_JOINT}.image_layer_norm.{{leaf}}", f"{_OURS}.feature_norm.{{leaf}}"),
        Rename(f"{_JOINT}.image_location_layer_norm.{{leaf}}", f"{_OURS}.box_norm.{{leaf}}"),
        Rename(f"{_JOINT}.v_LayerNorm.{{leaf}}", f"{_OURS}.norm.{{leaf}}"),
        Same(f"{_JOINT}.image_token_type_embeddings.weight", as_=f"{_JOINT}.token_type_embeddings.weight"),
    ),
    "visualbert": (
        Rename(f"{_JOINT}.projection.{{leaf}}", f"{_OURS}.feature.{{leaf}}"),
        Rename(f"{_JOINT}.token_type_embeddings_visual.weight", f"{_OURS}.segment.weight"),
        Rename(f"{_JOINT}.position_embeddings_visual.weight", f"{_OURS}.position.weight"),
    ),
    "vl-bert": (
        Rename(f"{_JOINT}.obj_downsample.1.{{leaf}}", f"{_OURS}.feature.{{leaf}}"),
        Rename(f"{_JOINT}.object_mask_visual_embedding.weight", f"{_OURS}.mask"),
        Rename(f"{_JOINT}.object_linguistic_embeddings.weight", "encoder.embed.region_word.weight"),
        Rename(f"{_JOINT}.object_mask_word_embedding.weight", "encoder.embed.masked_word.weight"),
        Rename(f"{_JOINT}.end_embedding.weight", "encoder.embed.end_word.weight"),
        Rename(f"{_JOINT}.visual_ln_text.{{leaf}}", "encoder.embed.text_visual_norm.{leaf}"),
        Rename(f"{_JOINT}.visual_ln_object.{{leaf}}", "encoder.embed.region_visual_norm.{leaf}"),
    ),
}


def _recipe(embedding: str, schedule: str, *, of: str, **sizes: Any) -> Recipe:
    """One of the five controlled models."""
    region_shape = (f"{_OURS}.mask" if embedding == "vl-bert" else f"{_OURS}.feature.weight", 1)
    return Recipe(
        name=f"volta-{embedding}",
        family="volta",
        paper="Bugliarello et al. 2021, Multimodal Pretraining Unmasked: A Meta-Analysis and a Unified Framework of "
        f"Vision-and-Language BERTs, TACL, arXiv:2011.15124; the controlled form of {of}",
        build=volta,
        model_types=("bert", "volta"),
        reads=frozenset({"text", "regions"}),
        heads={
            "masked-tokens": masked_tokens,
            "image-text-matching": image_text_matching,
            "masked-regions": masked_regions,
            "vqa": vqa,
            "nlvr2": nlvr2,
            "retrieval": retrieval,
            "visual-entailment": visual_entailment,
            "grounding": grounding,
        },
        objectives=("vilbert-pretraining",),
        pretraining_heads=("masked-tokens", "image-text-matching", "masked-regions"),
        weights=(
            *embedding_rules("bert.embeddings", "encoder.embed.text"),
            Drop("bert.embeddings.position_ids", because="a buffer that counts from 0"),
            *EMBEDDINGS[embedding],
            *_sublayer_rules(),
            Rename("bert.t_pooler.dense.{leaf}", "encoder.pooler.text.{leaf}"),
            Rename("bert.v_pooler.dense.{leaf}", "encoder.pooler.regions.{leaf}"),
            *vocabulary_rules("bert.embeddings.word_embeddings.weight"),
            Rename("cls.bi_seq_relationship.{leaf}", "heads.image-text-matching.{leaf}"),
            Rename("cls.imagePredictions.transform.dense.{leaf}", "heads.masked-regions.transform.dense.{leaf}"),
            Rename("cls.imagePredictions.transform.LayerNorm.{leaf}", "heads.masked-regions.transform.norm.{leaf}"),
            *(
                Rename(
                    f"cls.imagePredictions.decoder_dict.{number}.{{leaf}}",
                    f"heads.masked-regions.out.{target}.{{leaf}}",
                )
                for number, target in enumerate(TARGETS)
            ),
            *_task_rules(),
        ),
        sizes={"embedding": embedding, "schedule": schedule, **sizes},
        config_keys={
            **{theirs: ours for theirs, ours in BERT_FIELDS.items() if ours != "num_layers"},
            "v_hidden_size": "region_states",
            "v_num_attention_heads": "region_heads",
            "v_intermediate_size": "region_ffn_dim",
            "v_feature_size": "region_dim",
            "pooler_size": "pooled_dim",
            "num_locs": "box_dim",
            "fusion_method": "fusion",
            "fusion_act": "pooler_activation",
            "v_hidden_act": "region_activation",
            "attention_probs_dropout_prob": "attention_dropout",
            "v_hidden_dropout_prob": "region_dropout",
            "v_attention_probs_dropout_prob": "region_attention_dropout",
        },
        read_config=partial(read_config, embedding=embedding),
        infer_from_shapes={"region_dim": region_shape, "vocab_size": ("encoder.embed.text.word.weight", 0)},
        notes=(
            "the controlled form is not the original: boxes are 5 numbers, the whole image stands before the regions, "
            "and both streams are pooled",
            "the published label of a pair is 0 where it matches; image-text-matching has 1 there, as all systems here",
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
