"""UNITER: one BERT over a text and the regions of its image."""

from collections.abc import Mapping
from typing import Any, TypeVar

from torch import Tensor, nn

from mm_kptm.errors import UserError
from mm_kptm.models.single import SingleStream
from mm_kptm.nn.attention import Attention, set_attention_dropout
from mm_kptm.nn.embeddings import TextEmbedding
from mm_kptm.nn.heads import Classifier, Pooler, Transform
from mm_kptm.nn.init import bert_init
from mm_kptm.nn.sublayers import bert_layer
from mm_kptm.nn.submodules import submodule
from mm_kptm.recipes.bert import (
    BERT_FIELDS,
    NORM_AND_ATTENTION,
    embedding_rules,
    layer_rules,
    masked_tokens,
    pair_classes,
    vocabulary_rules,
)
from mm_kptm.systems.norm_eps import takes_norm_eps
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.rules import Drop, Rename, Rule, Same, Split, Take, head_rows
from mm_kptm.systems.text_format import TextFormat
from mm_kptm.vision.modules.assembly import TextThenRegions
from mm_kptm.vision.modules.embeddings import RegionEmbedding
from mm_kptm.vision.modules.heads import PairedImages, TiedFeatures
from mm_kptm.vision.recipes.head_sizes import rows_of

M = TypeVar("M", bound=nn.Module)


@takes_norm_eps
def uniter(
    *,
    dim: int = 768,
    num_heads: int = 12,
    num_layers: int = 12,
    ffn_dim: int = 3072,
    vocab_size: int = 28996,
    max_positions: int = 512,
    num_segments: int = 2,
    region_dim: int = 2048,
    activation: str = "gelu",
    dropout: float = 0.1,
    attention_dropout: float | None = None,
) -> SingleStream:
    """The encoder of Chen et al. (2020, figure 1); the defaults are UNITER-base.

    ``attention_dropout`` is that of the states unless given, as in every published configuration. Regions take row 1 of
    ``num_segments``; NLVR2 adds a third row for right images, VCR two for answers and rationales.
    """
    text = TextEmbedding(vocab_size, dim, max_positions=max_positions, num_segments=num_segments, dropout=dropout)
    regions = RegionEmbedding(region_dim, dim, segment=text.segment, dropout=dropout)
    layers = (
        bert_layer(dim, num_heads, ffn_dim=ffn_dim, activation=activation, dropout=dropout) for _ in range(num_layers)
    )
    encoder = SingleStream(TextThenRegions(text, regions), layers, Pooler(dim), dim=dim)
    set_attention_dropout(encoder, attention_dropout)
    bert_init(encoder)
    return encoder


def masked_region_features(encoder: SingleStream) -> TiedFeatures:
    """Feature regression of masked regions with the tied feature projection (Chen et al. 2020, section 3.2, MRFR)."""
    feature = submodule(encoder, "embed.regions.feature", nn.Linear)
    head = TiedFeatures(Transform(encoder.dim), feature)
    bert_init(head.transform)
    return head


def masked_region_classes(encoder: SingleStream, *, num_classes: int = 1601) -> Classifier:
    """The detector's classes of masked regions; class 0 is background (Chen et al. 2020, section 3.2, MRC)."""
    return _fresh(Classifier(encoder.dim, num_classes, inner_dim=encoder.dim))


def vqa(encoder: SingleStream, *, num_answers: int = 3129) -> Classifier:
    """Logits of all answers from the pooled state; visual entailment is the same with 3 answers."""
    return _fresh(Classifier(encoder.dim, num_answers))


def nlvr2(encoder: SingleStream, *, num_classes: int = 2) -> PairedImages:
    """False or true of a text about two images: the variant with paired attention."""
    first = submodule(encoder, "layers.0.self_attention.attention", Attention)
    return _fresh(PairedImages(encoder.dim, first.num_heads, num_classes=num_classes, dropout=first.dropout))


def retrieval(encoder: SingleStream) -> nn.Linear:
    """One logit per pair from the pooled state; it starts from row 1 of image-text-matching where a file has that."""
    return _fresh(nn.Linear(encoder.dim, 1))


def grounding(encoder: SingleStream, *, num_layers: int = 1) -> nn.Linear | Classifier:
    """One logit per region state: a linear layer, or two for RefCOCO+.

    Raises:
        UserError: another number of layers.
    """
    if num_layers not in (1, 2):
        raise UserError(f"the head grounding has 1 or 2 layers, not {num_layers}")
    return _fresh(nn.Linear(encoder.dim, 1) if num_layers == 1 else Classifier(encoder.dim, 1, inner_dim=encoder.dim))


def vcr(encoder: SingleStream) -> Classifier:
    """Wrong (0) or right (1) of one choice from the pooled state; with ReLU, where the other heads have GELU."""
    return _fresh(Classifier(encoder.dim, 2, activation="relu"))


def _fresh(head: M) -> M:
    bert_init(head)
    return head


def classifier_rules(theirs: str, ours: str) -> tuple[Rename, ...]:
    """Key renamings of a published ``Sequential`` of dense, activation, norm, dense."""
    return (
        Rename(f"{theirs}.0.{{leaf}}", f"{ours}.transform.dense.{{leaf}}"),
        Rename(f"{theirs}.2.{{leaf}}", f"{ours}.transform.norm.{{leaf}}"),
        Rename(f"{theirs}.3.{{leaf}}", f"{ours}.out.{{leaf}}"),
    )


def region_embedding_rules(theirs: str) -> tuple[Rename | Take, ...]:
    """UNITER's embedding of regions, features and boxes normed apart."""
    ours = "encoder.embed.regions"
    return (
        Rename(f"{theirs}.img_linear.{{leaf}}", f"{ours}.feature.{{leaf}}"),
        Rename(f"{theirs}.img_layer_norm.{{leaf}}", f"{ours}.feature_norm.{{leaf}}"),
        Rename(f"{theirs}.pos_linear.{{leaf}}", f"{ours}.box.{{leaf}}"),
        Rename(f"{theirs}.pos_layer_norm.{{leaf}}", f"{ours}.box_norm.{{leaf}}"),
        Rename(f"{theirs}.LayerNorm.{{leaf}}", f"{ours}.norm.{{leaf}}"),
        Take(
            f"{theirs}.mask_embedding.weight",
            f"{ours}.mask",
            row=1,
            because="row 0 stands for regions that are not hidden, and the released code sets it to zero before use",
        ),
    )


def packed_attention_rules(theirs: str, ours: str) -> tuple[Split | Rename, ...]:
    """Key renamings of a published ``nn.MultiheadAttention``."""
    return (
        *(
            Split(f"{theirs}.in_proj_{leaf}", tuple(f"{ours}.{role}.{leaf}" for role in ("query", "key", "value")))
            for leaf in ("weight", "bias")
        ),
        Rename(f"{theirs}.out_proj.{{leaf}}", f"{ours}.out_proj.{{leaf}}"),
    )


_ROWS = rows_of({"vqa": {"num_answers": "out.bias"}, "masked-region-classes": {"num_classes": "out.bias"}})


def _infer_heads(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Any]]:
    """Sizes of heads, and the two layers of the grounding head of RefCOCO+."""
    two = {"grounding": {"num_layers": 2}} if "heads.grounding.out.weight" in tensors else {}
    return _ROWS(tensors) | two


_REGIONS = "uniter.img_embeddings"

#: Key renamings of a BERT checkpoint to start from: its keys begin with ``bert.``, those of UNITER with ``uniter.``.
_BERT_START: tuple[Rule, ...] = (
    *embedding_rules("bert.embeddings", "encoder.embed.text"),
    Drop("bert.embeddings.position_ids", because="a buffer that counts from 0"),
    *layer_rules("bert.encoder.layer.{i}", "encoder.layers.{i}"),
    Rename("bert.pooler.dense.{leaf}", "encoder.pooler.dense.{leaf}"),
    Drop("cls.seq_relationship.{leaf}", because="next-sentence prediction has no place in UNITER"),
)

UNITER_BASE = Recipe(
    name="uniter-base",
    family="uniter",
    paper="Chen et al. 2020, UNITER: UNiversal Image-TExt Representation Learning, ECCV, arXiv:1909.11740",
    build=uniter,
    model_types=("bert", "uniter"),
    reads=frozenset({"text", "regions"}),
    heads={
        "masked-tokens": masked_tokens,
        "masked-region-features": masked_region_features,
        "masked-region-classes": masked_region_classes,
        "image-text-matching": pair_classes,
        "vqa": vqa,
        "nlvr2": nlvr2,
        "retrieval": retrieval,
        "grounding": grounding,
        "vcr": vcr,
    },
    objectives=(
        "masked-tokens",
        "masked-region-features",
        "masked-region-classes",
        "masked-region-distributions",
        "image-text-matching",
        "word-region-alignment",
    ),
    objective_arguments={"masked-tokens": {"at_least_one": True, "random_from": "!"}},
    weights=(
        *embedding_rules("uniter.embeddings", "encoder.embed.text"),
        *region_embedding_rules(_REGIONS),
        *layer_rules("uniter.encoder.layer.{i}", "encoder.layers.{i}"),
        Rename("uniter.pooler.dense.{leaf}", "encoder.pooler.dense.{leaf}"),
        *vocabulary_rules("uniter.embeddings.word_embeddings.weight"),
        Rename("feat_regress.net.0.{leaf}", "heads.masked-region-features.transform.dense.{leaf}"),
        Rename("feat_regress.net.2.{leaf}", "heads.masked-region-features.transform.norm.{leaf}"),
        Same("feat_regress.weight", as_=f"{_REGIONS}.img_linear.weight"),
        Rename("feat_regress.bias", "heads.masked-region-features.bias"),
        *classifier_rules("region_classifier.net", "heads.masked-region-classes"),
        Rename("itm_output.{leaf}", "heads.image-text-matching.{leaf}"),
        *classifier_rules("vqa_output", "heads.vqa"),
        *packed_attention_rules("attn1", "heads.nlvr2.left"),
        *packed_attention_rules("attn2", "heads.nlvr2.right"),
        Rename("fc.0.{leaf}", "heads.nlvr2.mix.{leaf}"),
        Rename("attn_pool.fc.0.{leaf}", "heads.nlvr2.pool.score.{leaf}"),
        Rename("nlvr2_output.{leaf}", "heads.nlvr2.out.{leaf}"),
        Rename("rank_output.{leaf}", "heads.retrieval.{leaf}"),
        Rename("re_output.{leaf}", "heads.grounding.{leaf}"),
        *classifier_rules("re_output", "heads.grounding"),
        *classifier_rules("vcr_output", "heads.vcr"),
        *_BERT_START,
    ),
    config_keys=BERT_FIELDS | NORM_AND_ATTENTION,
    infer_heads=_infer_heads,
    infer_from_shapes={  # published configurations lack the first, and fine-tuning extended the others
        "region_dim": ("encoder.embed.regions.feature.weight", 1),
        "num_segments": ("encoder.embed.text.segment.weight", 0),
        "vocab_size": ("encoder.embed.text.word.weight", 0),
    },
    head_starts={"retrieval": head_rows("image-text-matching", rows=slice(1, 2))},
    text=TextFormat(choice_segments=(0, 2, 3)),
    notes=(
        "a checkpoint of BERT is a start: load its folder with fresh=['encoder.embed.regions.']",
        "a hidden region's feature is the mask row; the released code zeroes the feature and then adds that row",
        "NLVR2 adds segment 2 (left image 1, right image 2); VCR adds segments 2 and 3 (question 0, regions 1, "
        "answer 2, rationale 3) and 81 words for person and object tags; table sizes follow from the checkpoint",
        "the loss of masked-region-distributions is averaged over all elements, not over regions",
    ),
)

UNITER_LARGE = Recipe(
    **{
        **vars(UNITER_BASE),
        "name": "uniter-large",
        "sizes": {"dim": 1024, "num_heads": 16, "num_layers": 24, "ffn_dim": 4096},
    }
)
