"""UC2: UNITER on XLM-R, pretrained on captions in six languages."""

from mm_kptm.models.single import SingleStream
from mm_kptm.nn.attention import set_attention_dropout
from mm_kptm.nn.embeddings import TextEmbedding
from mm_kptm.nn.heads import Pooler
from mm_kptm.nn.init import bert_init
from mm_kptm.nn.sublayers import bert_layer, set_norm_eps
from mm_kptm.recipes.bert import (
    BERT_FIELDS,
    NORM_AND_ATTENTION,
    embedding_rules,
    layer_rules,
    masked_tokens,
    pair_classes,
)
from mm_kptm.recipes.roberta import first_position, hugging_face_rules
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.rules import Drop, Rename, Rule, Same, drop_prefix
from mm_kptm.vision.modules.assembly import TextThenRegions
from mm_kptm.vision.modules.embeddings import RegionEmbedding
from mm_kptm.vision.recipes.uniter import (
    classifier_rules,
    masked_region_classes,
    masked_region_features,
    nlvr2,
    packed_attention_rules,
    region_embedding_rules,
    retrieval,
    vqa,
)


def uc2(
    *,
    dim: int = 768,
    num_heads: int = 12,
    num_layers: int = 12,
    ffn_dim: int = 3072,
    vocab_size: int = 250002,
    max_positions: int = 514,
    num_segments: int = 2,
    position_offset: int = 2,
    region_dim: int = 2048,
    activation: str = "gelu",
    norm_eps: float = 1e-5,
    dropout: float = 0.1,
    attention_dropout: float | None = None,
) -> SingleStream:
    """The encoder of Zhou et al. (2021, section 3.1); the defaults are the published model.

    UNITER with XLM-R's text: its vocabulary, positions behind the padding id, and eps 1e-5. The two segments, of text
    and regions, are new, as XLM-R has one.
    """
    text = TextEmbedding(
        vocab_size,
        dim,
        max_positions=max_positions,
        num_segments=num_segments,
        position_offset=position_offset,
        dropout=dropout,
    )
    regions = RegionEmbedding(region_dim, dim, segment=text.segment, dropout=dropout)
    layers = (
        bert_layer(dim, num_heads, ffn_dim=ffn_dim, activation=activation, dropout=dropout) for _ in range(num_layers)
    )
    encoder = SingleStream(TextThenRegions(text, regions), layers, Pooler(dim), dim=dim)
    bert_init(encoder)
    set_norm_eps(encoder, norm_eps)
    set_attention_dropout(encoder, attention_dropout)
    return encoder


_TEXT, _REGIONS = "roberta.embeddings", "roberta.img_embeddings"
_VISUAL_WORDS = "names of objects are predicted by the head of masked tokens; the released losses do not read this one"

WEIGHTS: tuple[Rule, ...] = (
    Rename(f"{_TEXT}.new_token_type_embeddings.weight", "encoder.embed.text.segment.weight"),
    Drop(f"{_TEXT}.token_type_embeddings.weight", because="XLM-R's one segment, which UC2's two segments replace"),
    *embedding_rules(_TEXT, "encoder.embed.text"),
    Drop(f"{_TEXT}.position_ids", because="a buffer that counts from 0"),
    *region_embedding_rules(_REGIONS),
    *layer_rules("roberta.encoder.layer.{i}", "encoder.layers.{i}"),
    Rename("roberta.pooler.dense.{leaf}", "encoder.pooler.dense.{leaf}"),
    Rename("cls.bias", "heads.masked-tokens.bias"),
    Rename("cls.dense.{leaf}", "heads.masked-tokens.transform.dense.{leaf}"),
    Rename("cls.layer_norm.{leaf}", "heads.masked-tokens.transform.norm.{leaf}"),
    Same("cls.decoder.weight", as_=f"{_TEXT}.word_embeddings.weight"),
    Same("cls.decoder.bias", as_="cls.bias"),
    *drop_prefix("vis_cls", _VISUAL_WORDS, depth=2),
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
)

UC2 = Recipe(
    name="uc2",
    family="uc2",
    paper="Zhou et al. 2021, UC2: Universal Cross-lingual Cross-modal Vision-and-Language Pre-training, CVPR, "
    "arXiv:2104.00332",
    build=uc2,
    reads=frozenset({"text", "regions"}),
    heads={
        "masked-tokens": masked_tokens,
        "masked-region-features": masked_region_features,
        "masked-region-classes": masked_region_classes,
        "image-text-matching": pair_classes,
        "vqa": vqa,
        "nlvr2": nlvr2,
        "retrieval": retrieval,
    },
    objectives=(
        "masked-tokens",
        "masked-region-features",
        "masked-region-classes",
        "masked-region-distributions",
        "masked-region-words",
        "visual-translation-language-modeling",
        "image-text-matching",
    ),
    weights=(*WEIGHTS, *hugging_face_rules("[roberta.]", "encoder")),
    config_keys=BERT_FIELDS | NORM_AND_ATTENTION | {"img_dim": "region_dim"},
    read_config=first_position,
    read_fields=frozenset({"pad_token_id"}),
    model_types=("xlm-roberta",),
    infer_from_shapes={
        "region_dim": ("encoder.embed.regions.feature.weight", 1),
        "num_segments": ("encoder.embed.text.segment.weight", 0),
        "vocab_size": ("encoder.embed.text.word.weight", 0),
        "max_positions": ("encoder.embed.text.position.weight", 0),
    },
    notes=(
        "a checkpoint of XLM-R is a start: load its folder with fresh=['encoder.embed.regions.', "
        "'encoder.embed.text.segment.', 'encoder.pooler.']",
        "matched is class 1, as in UNITER; IGLUE's form has class 0 there",
        "positions of a translation begin at the first one again, as each <s> has it",
        "the loss of masked-region-words is over the tokens that names of objects can have",
    ),
)
