"""M3P: XLM's encoder over the regions of an image and a text in one of a hundred languages."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from mm_kptm.models.single import SingleStream
from mm_kptm.nn.attention import set_attention_dropout
from mm_kptm.nn.heads import Pooler, TiedVocabulary
from mm_kptm.nn.init import bert_init
from mm_kptm.nn.sublayers import bert_layer
from mm_kptm.nn.submodules import submodule
from mm_kptm.systems.norm_eps import takes_norm_eps
from mm_kptm.systems.published_fields import check_fields
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.rules import Drop, Rename, Rule, Same, drop_prefix
from mm_kptm.vision.modules.single_stream.region_refiner import RegionRefiner
from mm_kptm.vision.modules.single_stream.regions_first import OneLogit, RegionsThenText


@takes_norm_eps
def m3p(
    *,
    dim: int = 768,
    num_heads: int = 12,
    num_layers: int = 12,
    ffn_dim: int | None = None,
    vocab_size: int = 250002,
    max_positions: int = 514,
    region_dim: int = 2048,
    activation: str = "gelu",
    dropout: float = 0.1,
    attention_dropout: float | None = None,
    refine_layers: int = 0,
) -> SingleStream:
    """The encoder of Ni et al. (2021, section 3.1); the defaults are the published model.

    Regions come first, and positions count over regions and words. The pooled state is that of the first region.
    ``refine_layers`` of attention on attention stand between the embedded regions and the first layer.
    """
    width = 4 * dim if ffn_dim is None else ffn_dim
    refiner = RegionRefiner(dim, num_heads, refine_layers, ffn_dim=width, activation=activation, dropout=dropout)
    embed = RegionsThenText(
        vocab_size,
        dim,
        region_dim=region_dim,
        max_positions=max_positions,
        dropout=dropout,
        refiner=refiner if refine_layers else None,
    )
    layers = (
        bert_layer(dim, num_heads, ffn_dim=ffn_dim, activation=activation, dropout=dropout) for _ in range(num_layers)
    )
    encoder = SingleStream(embed, layers, Pooler(dim), dim=dim)
    bert_init(encoder)
    set_attention_dropout(encoder, attention_dropout)
    return encoder


def masked_tokens(encoder: SingleStream) -> TiedVocabulary:
    """The word table as output matrix with a bias and nothing before it, as in XLM."""
    return TiedVocabulary(nn.Identity(), submodule(encoder, "embed.word", nn.Embedding))


def image_text_matching(encoder: SingleStream) -> OneLogit:
    """One logit from the pooled state, as the scores of mismatched (0) and matched (1)."""
    head = OneLogit(encoder.dim)
    bert_init(head)
    return head


def masked_region_features(encoder: SingleStream) -> nn.Linear:
    """Linear regression of the features of masked regions."""
    region_dim = submodule(encoder, "embed.regions.feature", nn.Linear).in_features
    head = nn.Linear(encoder.dim, region_dim)
    bert_init(head)
    return head


def vqa(encoder: SingleStream, *, num_answers: int = 1842, inner_dim: int = 1536) -> nn.Sequential:
    """Logits of all answers from the pooled state; the default is xGQA's answers (Bugliarello et al. 2022)."""
    head = nn.Sequential(
        nn.Linear(encoder.dim, inner_dim), nn.GELU(), nn.LayerNorm(inner_dim), nn.Linear(inner_dim, num_answers)
    )
    bert_init(head)
    return head


_FIELDS = {
    "emb_dim": "dim",
    "n_heads": "num_heads",
    "n_layers": "num_layers",
    "n_words": "vocab_size",
    "dropout": "dropout",
    "attention_dropout": "attention_dropout",
    "layer_norm_eps": "norm_eps",
}


def read_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes of XLM's ``params``, nested or not, or of a configuration of IGLUE; tables and layers tell the others.

    Raises:
        UserError: it asks for what the encoder has no part for.
    """
    check_fields("m3p", config.get("params", config), {"refine_image": (False,)})
    return read_refined_config(config)


def read_refined_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """As :func:`read_config`, of a model with the refiner, whose layers the weights tell.

    Raises:
        UserError: it asks for what the encoder has no part for.
    """
    params = config.get("params", config)
    built = {
        "sinusoidal_embeddings": (False,),
        "share_inout_emb": (True,),
        "attention_setting": ("v1",),
        "use_externel_att": (False,),
    }
    check_fields("m3p", params, built)
    sizes = {ours: params[theirs] for theirs, ours in _FIELDS.items() if theirs in params}
    if "gelu_activation" in params:
        sizes["activation"] = "gelu" if params["gelu_activation"] else "relu"
    return sizes


def infer_sizes(tensors: Mapping[str, Tensor], sizes: Mapping[str, Any]) -> dict[str, int]:
    """The feed-forward width of a checkpoint, which no configuration says."""
    up = tensors.get("encoder.layers.0.ffn.up_proj.weight")
    return {} if up is None else {"ffn_dim": up.shape[0]}


def infer_refined(tensors: Mapping[str, Tensor], sizes: Mapping[str, Any]) -> dict[str, int]:
    """The feed-forward width and the number of refining layers of a checkpoint."""
    gates = [name for name in tensors if name.startswith(f"{_PLACE}.layers.") and name.endswith("gate.bias")]
    return {**infer_sizes(tensors, sizes), **({"refine_layers": len(gates)} if gates else {})}


_ROLES = {"q_lin": "query", "k_lin": "key", "v_lin": "value", "out_lin": "out_proj"}
_IMAGE = "[encoder.]image_embeddings"
_OTHER_PASS = "a part of other passes than that over regions and text"
_UNUSED = {
    "encoder_attn": "attention of a decoder, which pretraining does not use",
    "layer_norm15": "norm of a decoder, which pretraining does not use",
    "cross_alignment": _OTHER_PASS,
    "latent_transforms": _OTHER_PASS,
    "original_transforms": _OTHER_PASS,
    "pooled_layer2": _OTHER_PASS,
    "seq_relationship2": _OTHER_PASS,
    "transformer_obj": "the transform of object classes, whose output layer is not among the weights",
}

_REFINER, _PLACE = "[encoder.]refine_embeddings", "encoder.embed.refiner"
_LINEARS = {
    "self_attn.linears.0": "attention.query",
    "self_attn.linears.1": "attention.key",
    "self_attn.linears.2": "attention.value",
    "self_attn.aoa_layer.0": "attention.gate",
    "feed_forward.lin1": "up_proj",
    "feed_forward.lin2": "down_proj",
    "sublayer.0.norm": "attention_norm",
    "sublayer.1.norm": "ffn_norm",
}

#: Key renamings of the refiner of regions.
REFINER: tuple[Rule, ...] = (
    *(
        Rename(f"{_REFINER}.layers.{{i}}.{theirs}.{{leaf}}", f"{_PLACE}.layers.{{i}}.{ours}.{{leaf}}")
        for theirs, ours in _LINEARS.items()
    ),
    Rename(f"{_REFINER}.norm.{{leaf}}", f"{_PLACE}.norm.{{leaf}}"),
)

WEIGHTS: tuple[Rule, ...] = (
    Rename("[encoder.]embeddings.weight", "encoder.embed.word.weight"),
    Rename("[encoder.]position_embeddings.weight", "encoder.embed.position.weight"),
    Rename("[encoder.]layer_norm_emb.{leaf}", "encoder.embed.norm.{leaf}"),
    Rename(f"{_IMAGE}.image_embeddings.{{leaf}}", "encoder.embed.regions.feature.{leaf}"),
    Rename(f"{_IMAGE}.image_location_embeddings.{{leaf}}", "encoder.embed.regions.box.{leaf}"),
    Rename(f"{_IMAGE}.LayerNorm.{{leaf}}", "encoder.embed.regions.norm.{leaf}"),
    Drop(f"{_IMAGE}.image_distbution_embeddings.{{leaf}}", because="class distributions of regions are not read"),
    Drop("[encoder.]cross_lang_embeddings.weight", because="no language is added where regions and text are read"),
    Drop("[encoder.]lang_embeddings.weight", because="no language is added where regions and text are read"),
    *(
        Rename(
            f"[encoder.]attentions.{{i}}.{theirs}.{{leaf}}",
            f"encoder.layers.{{i}}.self_attention.attention.{ours}.{{leaf}}",
        )
        for theirs, ours in _ROLES.items()
    ),
    Rename("[encoder.]layer_norm1.{i}.{leaf}", "encoder.layers.{i}.self_attention.norm.{leaf}"),
    Rename("[encoder.]ffns.{i}.lin1.{leaf}", "encoder.layers.{i}.ffn.up_proj.{leaf}"),
    Rename("[encoder.]ffns.{i}.lin2.{leaf}", "encoder.layers.{i}.ffn.down_proj.{leaf}"),
    Rename("[encoder.]layer_norm2.{i}.{leaf}", "encoder.layers.{i}.ffn.norm.{leaf}"),
    Rename("[encoder.]pooled_layer.dense.{leaf}", "encoder.pooler.dense.{leaf}"),
    Drop("pooler.dense.{leaf}", because="IGLUE's pooler, which its pass over regions and text does not call"),
    Rename("[encoder.]seq_relationship.{leaf}", "heads.image-text-matching.out.{leaf}"),
    Rename("[encoder.]mrfr_dense.{leaf}", "heads.masked-region-features.{leaf}"),
    Rename("[encoder.]pred_layer.proj.bias", "heads.masked-tokens.bias"),
    Same("encoder.pred_layer.proj.weight", as_="encoder.embeddings.weight"),
    Same("pred_layer.proj.weight", as_="embeddings.weight"),
    *(rule for name, why in _UNUSED.items() for rule in drop_prefix(f"[encoder.]{name}", why)),
)

M3P = Recipe(
    name="m3p",
    family="m3p",
    paper="Ni et al. 2021, M3P: Learning Universal Representations via Multitask Multilingual Multimodal Pre-training, "
    "CVPR, arXiv:2006.02635",
    build=m3p,
    reads=frozenset({"text", "regions"}),
    heads={
        "masked-tokens": masked_tokens,
        "image-text-matching": image_text_matching,
        "masked-region-features": masked_region_features,
        "vqa": vqa,
    },
    objectives=("masked-tokens", "masked-region-features", "image-text-matching", "image-choice"),
    pretraining_heads=("masked-tokens", "masked-region-features", "image-text-matching"),
    weights=(*WEIGHTS, *drop_prefix(_REFINER, "the refiner of regions, which IGLUE's configuration turns off")),
    model_types=("m3p", "xlm"),
    read_config=read_config,
    infer_from_shapes={
        "vocab_size": ("encoder.embed.word.weight", 0),
        "dim": ("encoder.embed.word.weight", 1),
        "max_positions": ("encoder.embed.position.weight", 0),
        "region_dim": ("encoder.embed.regions.feature.weight", 1),
    },
    infer_sizes=infer_sizes,
    notes=(
        "regions come before the text, and positions count over both; the pooled state is that of the first region",
        "the released mask counts the regions and tokens of a pair from the first row on, so that an image with fewer "
        "regions than others loses words; here every row of a pair is read",
        "pretraining alternates texts in 100 languages, captions whose words are switched into 50 languages, masked "
        "regions, and pairs of an image with switched captions",
        "without the refiner of regions, as in IGLUE; m3p-refined has it",
    ),
)

M3P_REFINED = Recipe(
    **{
        **vars(M3P),
        "name": "m3p-refined",
        "sizes": {"refine_layers": 6},
        "weights": (*WEIGHTS, *REFINER),
        "read_config": read_refined_config,
        "infer_sizes": infer_refined,
        "notes": (
            *M3P.notes[:-1],
            "six layers of attention on attention refine the regions (refine_image of its own training); the released "
            "code has their weights, and the call of them in a comment",
        ),
    }
)
