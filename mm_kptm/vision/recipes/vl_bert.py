"""VL-BERT: one BERT over words with visual features and regions with a token embedding."""

from collections.abc import Mapping
from typing import Any, TypeVar

from torch import Tensor, nn

from mm_kptm.errors import UserError
from mm_kptm.models.single import SingleStream
from mm_kptm.nn.attention import set_attention_dropout
from mm_kptm.nn.embeddings import TextEmbedding
from mm_kptm.nn.heads import Classifier, Pooler
from mm_kptm.nn.init import bert_init
from mm_kptm.nn.sublayers import bert_layer
from mm_kptm.recipes.bert import BERT_FIELDS, layer_rules, masked_tokens, pair_classes, vocabulary_rules
from mm_kptm.systems.norm_eps import takes_norm_eps
from mm_kptm.systems.published_fields import STANDARD, check_fields
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.rules import OneOf, Rename, head_rows
from mm_kptm.systems.text_format import TextFormat
from mm_kptm.vision.modules.single_stream.visual_features import (
    NUM_FREQUENCIES,
    PrecomputedFeatures,
    VisualFeatureEmbedding,
    box_dim,
)
from mm_kptm.vision.modules.single_stream.vl_bert_embedding import VlBertEmbedding
from mm_kptm.vision.recipes.from_bert import VL_BERT_START, regions_segment
from mm_kptm.vision.recipes.head_sizes import rows_of
from mm_kptm.vision.recipes.vl_bert_extractor import EXTRACTOR, infer_frontends

M = TypeVar("M", bound=nn.Module)


@takes_norm_eps
def vl_bert(
    *,
    dim: int = 768,
    num_heads: int = 12,
    num_layers: int = 12,
    ffn_dim: int = 3072,
    vocab_size: int = 30522,
    max_positions: int = 512,
    num_segments: int = 3,
    region_dim: int = 2048,
    visual_dim: int = 768,
    box_frequencies: int = NUM_FREQUENCIES,
    position_offset: int = 0,
    with_pooler: bool = False,
    whole_image: str = "mean",
    masks_regions: bool = True,
    reads_text_alone: bool = True,
    visual_scale: float = 0.0,
    visual_norm: bool = True,
    activation: str = "gelu",
    dropout: float = 0.1,
    attention_dropout: float | None = None,
) -> SingleStream:
    """The encoder of Su et al. (2020, figure 1); the defaults are VL-BERT-base on precomputed features.

    With ``region_dim`` 0 the regions come as embedded vectors, ``visual_dim`` wide, from an extractor that is trained
    with the encoder. One projection reads the ``box_frequencies`` sines and cosines of each number of a box, of mean
    square 1/2, beside the feature: features of small numbers, or of few, need fewer of them. The whole image is the
    ``mean`` of its regions (or what ``Regions.whole_image`` holds) or the ``first`` of them, by ``whole_image``.
    Without ``with_pooler``, as in the released pretraining, the pooled state is the final one of [CLS].
    Both visual norms begin at ``visual_scale``, the published ``visual_scale_*_init``; a small model with fresh weights
    learns to look only where that is about the size of its words. Without ``visual_norm`` (``visual_ln``) they are one
    learned number each. Fine-tuned checkpoints lack the rows of
    ``masks_regions`` and ``reads_text_alone``.
    """
    text = TextEmbedding(
        vocab_size,
        dim,
        max_positions=max_positions,
        num_segments=num_segments,
        position_offset=position_offset,
        norm=nn.Identity(),
        dropout=0.0,
    )
    regions = (
        VisualFeatureEmbedding(
            region_dim, visual_dim, num_frequencies=box_frequencies, masked=masks_regions, dropout=dropout
        )
        if region_dim
        else PrecomputedFeatures(visual_dim)
    )
    embed = VlBertEmbedding(
        text,
        regions,
        visual_dim=visual_dim,
        whole_image=whole_image,
        masks_regions=masks_regions,
        reads_text_alone=reads_text_alone,
        visual_scale=visual_scale,
        visual_norm=visual_norm,
        dropout=dropout,
    )
    layers = (
        bert_layer(dim, num_heads, ffn_dim=ffn_dim, activation=activation, dropout=dropout) for _ in range(num_layers)
    )
    encoder = _fresh(SingleStream(embed, layers, Pooler(dim) if with_pooler else nn.Identity(), dim=dim))
    set_attention_dropout(encoder, attention_dropout)
    return encoder


def masked_region_classes(encoder: SingleStream, *, num_classes: int = 1601) -> Classifier:
    """The detector's classes of masked regions; class 0 is background (Su et al. 2020, section 3.3, task 2)."""
    return _fresh(_without_norm(Classifier(encoder.dim, num_classes, inner_dim=encoder.dim)))


def vqa_at_mask(encoder: SingleStream, *, num_answers: int = 3129) -> Classifier:
    """Logits of all answers from the state of the [MASK] after the question; initialised from the masked-token head.

    :func:`~mm_kptm.vision.modules.single_stream.mask_readout.answer_mask_rows` finds its row; no pooled state is used.
    """
    return _fresh(Classifier(encoder.dim, num_answers, inner_dim=encoder.dim))


def grounding(encoder: SingleStream) -> Classifier:
    """One logit per region state, for binary cross-entropy; initialised from the head for masked regions."""
    return _fresh(_without_norm(Classifier(encoder.dim, 1, inner_dim=encoder.dim)))


def vcr(encoder: SingleStream) -> nn.Linear:
    """One logit per choice from the pooled state, for binary cross-entropy."""
    return _fresh(nn.Linear(encoder.dim, 1))


def region_objects(encoder: SingleStream, *, num_classes: int = 81) -> Classifier:
    """The class of every region's object from its final state, the auxiliary loss of VCR; class 0 is the image."""
    return _fresh(_without_norm(Classifier(encoder.dim, num_classes, inner_dim=encoder.dim)))


def _without_norm(head: Classifier) -> Classifier:
    head.transform.norm = nn.Identity()
    return head


def _fresh(module: M) -> M:
    bert_init(module)
    return module


#: Unsupported options of published configurations: field, supported value, meaning of the other.
_REFUSED = {
    "NETWORK.BLIND": (False, "the image is not read at all"),
    "NETWORK.NO_GROUNDING": (False, "words do not carry the regions that they name"),
    "NETWORK.NO_OBJ_ATTENTION": (False, "text and regions do not read each other"),
    "NETWORK.ANSWER_FIRST": (False, "the answer stands before the question"),
    "NETWORK.QA_ONE_SENT": (False, "question and answer are one segment"),
    "NETWORK.IMAGE_SEMANTIC": (False, "regions carry the embedding of their class"),
    "NETWORK.VLBERT.obj_pos_id_relative": (True, "regions have positions of their own"),
    "NETWORK.VLBERT.object_word_embed_mode": (2, "regions carry another linguistic part than one learned row"),
    "NETWORK.VLBERT.word_embedding_frozen": (False, "the first thousand words have a second, trained table"),
}


def _read_config(config: Mapping[str, Any]) -> dict[str, Any]:
    if "NETWORK" not in config:  # a start from BERT, which has fewer segments
        return _sizes({name: value for name, value in config.items() if name != "type_vocab_size"})
    for field, (built, meaning) in _REFUSED.items():
        value: Any = config
        for part in field.split("."):
            value = value.get(part, built) if isinstance(value, Mapping) else built
        if value != built:
            raise UserError(
                f"the configuration sets {field} to {value}, with which {meaning}; vl-bert is built with {built}, as "
                "all released models are"
            )
    classifier = config["NETWORK"].get("CLASSIFIER_TYPE", "mlm")
    if classifier not in ("mlm", "1fc"):
        raise UserError(
            f"the configuration sets NETWORK.CLASSIFIER_TYPE to {classifier!r}, but the heads of vl-bert are 'mlm' "
            "(VQA, referring expressions) and '1fc' (VCR), as in the released models"
        )
    network = config["NETWORK"].get("VLBERT", {})
    check_fields("vl-bert", network, {name: can for name, can in STANDARD.items() if name not in BERT_FIELDS})
    sizes = _sizes(network)
    names = {"with_pooler": "with_pooler", "visual_size": "visual_dim", "visual_ln": "visual_norm"}
    sizes |= {ours: network[theirs] for theirs, ours in names.items() if theirs in network}
    if "position_padding_idx" in network:
        sizes["position_offset"] = network["position_padding_idx"] + 1
    return sizes


def _sizes(fields: Mapping[str, Any]) -> dict[str, Any]:
    names = {**BERT_FIELDS, "attention_probs_dropout_prob": "attention_dropout"}
    return {ours: fields[theirs] for theirs, ours in names.items() if theirs in fields}


def _infer_sizes(tensors: Mapping[str, Tensor], sizes: Mapping[str, Any]) -> dict[str, Any]:
    if "encoder.embed.linguistic" not in tensors:
        return {}
    projection = tensors.get("encoder.embed.regions.project.weight")
    frequencies = int(sizes.get("box_frequencies", NUM_FREQUENCIES))
    return {
        "region_dim": 0 if projection is None else projection.shape[1] - box_dim(frequencies),
        "masks_regions": "encoder.embed.masked" in tensors,
        "reads_text_alone": "encoder.embed.no_image" in tensors,
        "with_pooler": "encoder.pooler.dense.weight" in tensors,
        "visual_norm": "encoder.embed.of_words.norm.bias" in tensors,
    }


_EMBED = "encoder.embed"

VL_BERT_BASE = Recipe(
    name="vl-bert-base",
    family="vl-bert",
    paper="Su et al. 2020, VL-BERT: Pre-training of Generic Visual-Linguistic Representations, ICLR, arXiv:1908.08530",
    build=vl_bert,
    model_types=("bert",),
    reads=frozenset({"text", "regions"}),
    heads={
        "masked-tokens": masked_tokens,
        "masked-region-classes": masked_region_classes,
        "image-text-matching": pair_classes,
        "vqa-at-mask": vqa_at_mask,
        "grounding": grounding,
        "vcr": vcr,
        "region-objects": region_objects,
    },
    objectives=("vl-bert-pretraining",),
    pretraining_heads=("masked-tokens", "masked-region-classes"),
    weights=(
        Rename("vlbert.word_embeddings.weight", f"{_EMBED}.text.word.weight"),
        Rename("vlbert.position_embeddings.weight", f"{_EMBED}.text.position.weight"),
        Rename("vlbert.token_type_embeddings.weight", f"{_EMBED}.text.segment.weight"),
        Rename("vlbert.end_embedding.weight", f"{_EMBED}.end"),
        Rename("vlbert.embedding_LayerNorm.{leaf}", f"{_EMBED}.norm.{{leaf}}"),
        Rename("vlbert.visual_ln_text.{leaf}", f"{_EMBED}.of_words.norm.{{leaf}}"),
        Rename("vlbert.visual_ln_object.{leaf}", f"{_EMBED}.of_regions.norm.{{leaf}}"),
        Rename("vlbert.visual_scale_text", f"{_EMBED}.of_words.norm.weight"),
        Rename("vlbert.visual_scale_object", f"{_EMBED}.of_regions.norm.weight"),
        Rename("vlbert.visual_1x1_text.{leaf}", f"{_EMBED}.of_words.project.{{leaf}}"),
        Rename("vlbert.visual_1x1_object.{leaf}", f"{_EMBED}.of_regions.project.{{leaf}}"),
        Rename("object_linguistic_embeddings.weight", f"{_EMBED}.linguistic"),
        Rename("object_mask_word_embedding.weight", f"{_EMBED}.masked"),
        Rename("object_mask_visual_embedding.weight", f"{_EMBED}.regions.mask"),
        Rename("aux_text_visual_embedding.weight", f"{_EMBED}.no_image"),
        Rename("image_feature_extractor.obj_downsample.1.{leaf}", f"{_EMBED}.regions.project.{{leaf}}"),
        *layer_rules("vlbert.encoder.layer.{i}", "encoder.layers.{i}"),
        Rename("vlbert.pooler.dense.{leaf}", "encoder.pooler.dense.{leaf}"),
        *vocabulary_rules("vlbert.word_embeddings.weight", "vlbert.mlm_head"),
        Rename("vlbert.mvrc_head.transform.dense.{leaf}", "heads.masked-region-classes.transform.dense.{leaf}"),
        Rename("vlbert.mvrc_head.region_cls_pred.{leaf}", "heads.masked-region-classes.out.{leaf}"),
        Rename("vlbert.relationsip_head.caption_image_relationship.{leaf}", "heads.image-text-matching.{leaf}"),
        Rename("final_mlp.0.LayerNorm.{leaf}", "heads.vqa-at-mask.transform.norm.{leaf}"),
        OneOf(
            "final_mlp.0.dense.{leaf}",
            ("heads.vqa-at-mask.transform.dense.{leaf}", "heads.grounding.transform.dense.{leaf}"),
        ),
        OneOf("final_mlp.2.{leaf}", ("heads.vqa-at-mask.out.{leaf}", "heads.grounding.out.{leaf}")),
        Rename("final_mlp.1.{leaf}", "heads.vcr.{leaf}"),
        Rename("cnn_loss_reg.0.dense.{leaf}", "heads.region-objects.transform.dense.{leaf}"),
        Rename("cnn_loss_reg.2.{leaf}", "heads.region-objects.out.{leaf}"),
        *EXTRACTOR,
        *VL_BERT_START,
    ),
    convert_state=regions_segment,
    read_config=_read_config,
    infer_heads=rows_of(
        {
            "masked-region-classes": {"num_classes": "out.bias"},
            "vqa-at-mask": {"num_answers": "out.bias"},
            "region-objects": {"num_classes": "out.bias"},
        }
    ),
    infer_from_shapes={"visual_dim": (f"{_EMBED}.regions.project.weight", 0)},
    infer_sizes=_infer_sizes,
    infer_frontends=infer_frontends,
    frontends={"rois": {}},
    task_losses={"grounding": "each-region"},
    head_starts={
        "vqa-at-mask": head_rows("masked-tokens", "transform."),
        "grounding": head_rows("masked-region-classes", "transform."),
    },
    text=TextFormat(answer_slot="mask-part"),
    notes=(
        "the released features carry the whole image as region 0: give whole_image='first' for such; by default it is "
        "made of the regions, with a box that fills the picture exactly (released: one pixel short)",
        "words that name regions (VCR) have the region's number under 'region' among the labels of the tokens",
        "texts alone (BooksCorpus, Wikipedia) have no [CLS] and [SEP] in the released pretraining",
        "both visual norms begin with weight 0, so a fresh model ignores vision until it is trained",
        "the published learning rate is per sample: multiply it by the examples of a step, 1e-7 by 256 and so on",
        "the ResNet of a checkpoint that was trained end to end is built with frontends=['rois'], and reads pixels and "
        "boxes; without it the ResNet stays behind; region_dim=0 takes finished vectors",
        "a checkpoint of BERT is a start: load its folder with fresh=['encoder.embed.'], and the heads that it lacks",
    ),
)

VL_BERT_LARGE = Recipe(
    **{
        **vars(VL_BERT_BASE),
        "name": "vl-bert-large",
        "sizes": {"dim": 1024, "num_heads": 16, "num_layers": 24, "ffn_dim": 4096, "visual_dim": 1024},
    }
)
