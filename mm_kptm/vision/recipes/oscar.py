"""Oscar and Oscar+ (VinVL): one BERT over a caption, the object tags of its image, and the regions."""

from collections.abc import Mapping
from functools import partial
from typing import Any, TypeVar

from torch import Tensor, nn

from mm_kptm.errors import UserError
from mm_kptm.models.single import SingleStream
from mm_kptm.nn.attention import set_attention_dropout
from mm_kptm.nn.embeddings import TextEmbedding
from mm_kptm.nn.heads import Pooler, TiedVocabulary
from mm_kptm.nn.init import bert_init
from mm_kptm.nn.sublayers import bert_layer
from mm_kptm.nn.submodules import submodule
from mm_kptm.recipes.bert import (
    BERT_FIELDS,
    NORM_AND_ATTENTION,
    embedding_rules,
    layer_rules,
    vocabulary_rules,
)
from mm_kptm.recipes.bert import masked_tokens as bert_masked_tokens
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.rules import OneOf, Rename, Rule
from mm_kptm.vision.modules.assembly import TextThenRegions
from mm_kptm.vision.modules.single_stream.concatenated_pairs import ConcatenatedPairs
from mm_kptm.vision.modules.single_stream.region_projection import BoxedFeatureEmbedding
from mm_kptm.vision.recipes.head_sizes import rows_of

M = TypeVar("M", bound=nn.Module)
BOX = 6  #: numbers of the box that published features carry behind the feature


def oscar(
    *,
    dim: int = 768,
    num_heads: int = 12,
    num_layers: int = 12,
    ffn_dim: int = 3072,
    vocab_size: int = 30522,
    max_positions: int = 512,
    num_segments: int = 2,
    region_dim: int = 2048,
    region_norm: bool = False,
    norm_eps: float = 1e-12,
    region_norm_eps: float = 1e-12,
    activation: str = "gelu",
    dropout: float = 0.1,
    attention_dropout: float | None = None,
) -> SingleStream:
    """The encoder of Li et al. (2020, figure 3); the defaults are Oscar-base.

    A published feature is ``region_dim`` + 6 wide: the last six numbers are the box, which is separate here.
    ``region_norm`` is the norm added by Oscar+ (Zhang et al. 2021).
    """
    norm = partial(nn.LayerNorm, eps=norm_eps)
    text = TextEmbedding(
        vocab_size, dim, max_positions=max_positions, num_segments=num_segments, norm=norm(dim), dropout=dropout
    )
    on_regions = nn.LayerNorm(dim, eps=region_norm_eps) if region_norm else nn.Identity()
    regions = BoxedFeatureEmbedding(region_dim, dim, norm=on_regions, dropout=dropout)
    layers = (
        bert_layer(dim, num_heads, ffn_dim=ffn_dim, activation=activation, dropout=dropout, norm=norm)
        for _ in range(num_layers)
    )
    encoder = _fresh(SingleStream(TextThenRegions(text, regions), layers, Pooler(dim), dim=dim))
    set_attention_dropout(encoder, attention_dropout)
    return encoder


def masked_tokens(encoder: SingleStream) -> TiedVocabulary:
    """BERT's head for masked tokens of caption and tags; also used for image captioning."""
    head = bert_masked_tokens(encoder)
    head.transform.norm = nn.LayerNorm(encoder.dim, eps=_eps(encoder))
    return head


def tag_contrast(encoder: SingleStream, *, num_classes: int = 2) -> nn.Linear:
    """Whether caption, tags and image belong together: 0 yes, 1 wrong tags; of three classes, 2 is a wrong caption."""
    return _fresh(nn.Linear(encoder.dim, num_classes))


def three_way_contrast(encoder: SingleStream, *, num_classes: int = 3) -> nn.Linear:
    """The same with the three classes of the released Oscar+ models."""
    return tag_contrast(encoder, num_classes=num_classes)


def vqa(encoder: SingleStream, *, num_answers: int = 3129) -> nn.Linear:
    """Logits of all answers from the pooled state; GQA is the same with 1853 answers and cross-entropy."""
    return _fresh(nn.Linear(encoder.dim, num_answers))


def matching(encoder: SingleStream) -> nn.Linear:
    """Mismatched (0) or matched (1) of caption and image in fine-tuning for retrieval; the tags are the image's."""
    return _fresh(nn.Linear(encoder.dim, 2))


def nlvr2(encoder: SingleStream, *, inner_scale: int = 3) -> ConcatenatedPairs:
    """False or true of a text about two images; the inner layer is ``inner_scale`` x dim wide (``cls_hidden_scale``).

    It has a norm if the region embedding has one (Oscar+).
    """
    inner = inner_scale * encoder.dim
    plus = isinstance(encoder.embed.regions.norm, nn.LayerNorm)
    norm = nn.LayerNorm(inner, eps=_eps(encoder)) if plus else nn.Identity()
    return _fresh(ConcatenatedPairs(encoder.dim, inner, norm=norm))


def _eps(encoder: SingleStream) -> float:
    return submodule(encoder, "embed.text.norm", nn.LayerNorm).eps


def _fresh(module: M) -> M:
    bert_init(module)
    return module


def _read_config(config: Mapping[str, Any], *, plus: bool) -> dict[str, Any]:
    if bool(config.get("use_img_layernorm")) != plus and "img_feature_dim" in config:
        theirs, name = ("Oscar+", "oscar-plus") if not plus else ("Oscar", "oscar")
        raise UserError(
            f"the configuration {'sets' if not plus else 'does not set'} use_img_layernorm, so it is {theirs}'s, whose "
            f"checkpoints have other parts; name the system {name}-base or {name}-large"
        )
    kind = config.get("img_feature_type", "faster_r-cnn")
    if kind != "faster_r-cnn":
        raise UserError(
            f"the configuration sets img_feature_type to {kind!r}, but oscar embeds features of detected regions, as "
            "all released models do; only 'faster_r-cnn' can be built"
        )
    if config.get("classifier") not in (None, "linear", "mlp"):
        raise UserError(
            f"the configuration sets classifier to {config['classifier']!r}, but the heads of oscar are 'linear' (VQA, "
            "retrieval) and 'mlp' (NLVR2)"
        )
    wide = {"region_dim": config["img_feature_dim"] - BOX} if "img_feature_dim" in config else {}
    return {**wide, **({"region_norm": True} if plus else {})}


def _infer_sizes(tensors: Mapping[str, Tensor], sizes: Mapping[str, Any]) -> dict[str, int]:
    feature = tensors.get("encoder.embed.regions.feature.weight")
    return {} if feature is None else {"region_dim": feature.shape[1] - BOX}


def _infer_heads(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Any]]:
    """The classes of a file; two of a classifier are those of retrieval, which has the same published name."""
    layers = {"vqa": {"num_answers": "bias"}, "tag-contrast": {"num_classes": "bias"}}
    found = rows_of(layers, more_than={"vqa": 2})(tensors)
    if (mix := tensors.get("heads.nlvr2.mix.weight")) is not None:
        found["nlvr2"] = {"inner_scale": 2 * mix.shape[0] // mix.shape[1]}
    return found


#: Published fields that are read here, and those of training alone, which change no state.
READ = frozenset(
    {"img_feature_dim", "use_img_layernorm", "img_feature_type", "classifier", "code_voc", "img_layer_norm_eps"}
    | {"loss_type", "cls_hidden_scale", "num_choice", "num_contrast_classes", "texta_false_prob", "freeze_embedding"}
    | {"label_smoothing", "drop_worst_ratio", "drop_worst_after", "tie_weights", "use_b"}
)


def _weights(*rules: Rule) -> tuple[Rule, ...]:
    return (
        *embedding_rules("bert.embeddings", "encoder.embed.text"),
        Rename("bert.img_embedding.{leaf}", "encoder.embed.regions.feature.{leaf}"),
        *layer_rules("bert.encoder.layer.{i}", "encoder.layers.{i}"),
        Rename("bert.pooler.dense.{leaf}", "encoder.pooler.dense.{leaf}"),
        *vocabulary_rules("bert.embeddings.word_embeddings.weight"),
        Rename("cls.seq_relationship.{leaf}", "heads.tag-contrast.{leaf}"),
        *(
            OneOf(f"classifier.{leaf}", (f"heads.vqa.{leaf}", f"heads.image-text-matching.{leaf}"))
            for leaf in ("weight", "bias")
        ),
        Rename("classifier.0.{leaf}", "heads.nlvr2.mix.{leaf}"),
        *rules,
    )


OSCAR_BASE = Recipe(
    name="oscar-base",
    family="oscar",
    paper="Li et al. 2020, Oscar: Object-Semantics Aligned Pre-training for Vision-Language Tasks, ECCV, "
    "arXiv:2004.06165",
    build=oscar,
    model_types=("bert", "oscar"),
    reads=frozenset({"text", "regions"}),
    heads={
        "masked-tokens": masked_tokens,
        "tag-contrast": tag_contrast,
        "vqa": vqa,
        "image-text-matching": matching,
        "nlvr2": nlvr2,
    },
    objectives=("tag-contrast",),
    task_losses={"retrieval": "each-pair"},
    pretraining_heads=("masked-tokens", "tag-contrast"),
    weights=_weights(Rename("classifier.2.{leaf}", "heads.nlvr2.out.{leaf}")),
    config_keys=BERT_FIELDS | NORM_AND_ATTENTION,
    read_config=partial(_read_config, plus=False),
    read_fields=READ,
    infer_sizes=_infer_sizes,
    infer_heads=_infer_heads,
    notes=(
        "class 0 of tag-contrast means that caption, tags and image belong together, 1 that the tags are another's; "
        "class 1 of image-text-matching, the head of retrieval, means that caption and image belong together",
        "the text is caption or question in segment 0, then the names of the objects in segment 1",
        "image captioning has the caption in segment 0 with mm_kptm.vision.modules.single_stream.caption_mask; tags "
        "stand at positions behind the longest caption, 40 in the released models",
        "a checkpoint of BERT is a start: load its folder with fresh=['encoder.embed.regions.', 'heads.tag-contrast.']",
        "the released code pads between text and regions; here nothing stands there, and no state depends on it",
    ),
)

OSCAR_LARGE = Recipe(
    **{
        **vars(OSCAR_BASE),
        "name": "oscar-large",
        "sizes": {"dim": 1024, "num_heads": 16, "num_layers": 24, "ffn_dim": 4096},
    }
)

OSCAR_PLUS_BASE = Recipe(
    **{
        **vars(OSCAR_BASE),
        "name": "oscar-plus-base",
        "family": "oscar-plus",
        "paper": "Zhang et al. 2021, VinVL: Revisiting Visual Representations in Vision-Language Models, CVPR, "
        "arXiv:2101.00529",
        "sizes": {"region_norm": True},
        "heads": {**OSCAR_BASE.heads, "tag-contrast": three_way_contrast},
        "objective_arguments": {"tag-contrast": {"wrong_first": 0.25, "wrong_second": 0.25, "lines": (1,)}},
        "weights": _weights(
            Rename("bert.LayerNorm.{leaf}", "encoder.embed.regions.norm.{leaf}"),
            Rename("classifier.2.{leaf}", "heads.nlvr2.norm.{leaf}"),
            Rename("classifier.3.{leaf}", "heads.nlvr2.out.{leaf}"),
        ),
        "config_keys": {**BERT_FIELDS, **NORM_AND_ATTENTION, "img_layer_norm_eps": "region_norm_eps"},
        "read_config": partial(_read_config, plus=True),
        "notes": (
            "tag-contrast has three classes: 0 all belong together, 1 wrong tags (answer), 2 wrong caption (question)",
            *OSCAR_BASE.notes,
        ),
    }
)

OSCAR_PLUS_LARGE = Recipe(
    **{
        **vars(OSCAR_PLUS_BASE),
        "name": "oscar-plus-large",
        "sizes": {**OSCAR_LARGE.sizes, "region_norm": True},
    }
)
