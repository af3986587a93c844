"""BriVL: Chinese images and texts, momentum towers and two queues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from mm_kptm.recipes.bert import BERT_FIELDS, bert, embedding_rules, layer_rules
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.rules import Drop, Rename, Rule, Split, Transpose
from mm_kptm.vision.contrastive.grid_pooling import BoxAttention, GridPoolingTower, TokenAttentionTower
from mm_kptm.vision.contrastive.image_towers import feature_map
from mm_kptm.vision.contrastive.key_maps import move
from mm_kptm.vision.contrastive.preparation import IMAGENET_MEAN, IMAGENET_STD, ImagePreparation
from mm_kptm.vision.contrastive.similarity import FixedSimilarity
from mm_kptm.vision.contrastive.towers import DualTower
from mm_kptm.vision.contrastive.two_queues import TwoQueues


def brivl(
    *,
    embed_dim: int = 2048,
    backbone: str = "tf_efficientnet_b5.ns_jft_in1k",
    image_dim: int = 2048,
    image_size: int = 380,
    image_heads: int = 8,
    image_layers: int = 4,
    samples: int = 4,
    box_grid: int = 6,
    text: Mapping[str, Any] | None = None,
    text_heads: int = 8,
    text_layers: int = 4,
    max_length: int = 80,
    ffn_dim: int = 2048,
    dropout: float = 0.1,
    temperature: float = 0.07,
    image_mean: Sequence[float] = IMAGENET_MEAN,
    image_std: Sequence[float] = IMAGENET_STD,
    frozen: str = "none",
) -> DualTower:
    """The towers of Huo et al. (2021, section 3.1).

    ``backbone`` is a name of timm, or ``identity`` where images come as feature maps; ``text`` are sizes of BERT, by
    default those of RoBERTa-wwm-ext; ``box_grid`` is the grid that is pooled where images come without boxes.
    """
    sizes = {"vocab_size": 21128, **(text or {})}
    encoder = bert(**sizes)
    trunk, channels = (nn.Identity(), image_dim) if backbone == "identity" else feature_map(backbone)
    shared: dict[str, Any] = {"ffn_dim": ffn_dim, "embed_dim": embed_dim, "dropout": dropout}
    image = GridPoolingTower(
        trunk,
        BoxAttention(image_dim, num_heads=image_heads, num_layers=image_layers, **shared),
        channels=channels,
        dim=image_dim,
        image_size=image_size,
        samples=samples,
        box_grid=box_grid,
    )
    tokens = BoxAttention(encoder.dim, num_heads=text_heads, num_layers=text_layers, **shared)
    return DualTower(
        image,
        TokenAttentionTower(encoder, tokens, length=max_length),
        FixedSimilarity(temperature),
        ImagePreparation(size=image_size, mean=image_mean, std=image_std, resize_mode="squash"),
        dim=embed_dim,
        frozen=frozen,
    )


def two_queues(encoder: DualTower, *, queue_size: int = 9600) -> TwoQueues:
    """Key towers and both queues of the released training."""
    return TwoQueues(encoder, queue_size=queue_size)


def queue_sizes(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, int]]:
    """The length of the queues of a checkpoint that holds them."""
    name = "heads.two-queues.image_queue.keys"
    return {"two-queues": {"queue_size": len(tensors[name])}} if name in tensors else {}


_FIELDS = {
    "IMG_FEATURE_DIM": "image_dim",
    "IMG_SIZE": "image_size",
    "IMG_TRANSFORMER_HEAD": "image_heads",
    "IMG_TRANSFORMER_LAYER": "image_layers",
    "GRID_SIZE": "samples",
    "BOX_GRID": "box_grid",
    "TEXT_TRANSFORMER_HEAD": "text_heads",
    "TEXT_TRANSFORMER_LAYER": "text_layers",
    "MAX_TEXT_LEN": "max_length",
    "CNN": "backbone",
    "TEMPERATURE": "temperature",
    "feedforward": "ffn_dim",
}


def read_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of :func:`brivl` from the released configuration, with BERT's fields under ``bert``."""
    found = {ours: config[theirs] for theirs, ours in _FIELDS.items() if theirs in config}
    if "bert" in config:
        names = {**BERT_FIELDS, "layer_norm_eps": "norm_eps"}
        found["text"] = {ours: config["bert"][theirs] for theirs, ours in names.items() if theirs in config["bert"]}
    return found


def _attention_rules(theirs: str, ours: str) -> tuple[Rule, ...]:
    """Rules of torch's TransformerEncoder and the perceptron behind it."""
    layer, place = f"{theirs}Att.layers.{{i}}", f"{ours}.layers.{{i}}"
    attention = f"{place}.self_attention.attention"
    roles = ("query", "key", "value")
    return (
        *(
            Split(f"{layer}.self_attn.in_proj_{leaf}", tuple(f"{attention}.{role}.{leaf}" for role in roles))
            for leaf in ("weight", "bias")
        ),
        Rename(f"{layer}.self_attn.out_proj.{{leaf}}", f"{attention}.out_proj.{{leaf}}"),
        Rename(f"{layer}.linear1.{{leaf}}", f"{place}.ffn.up_proj.{{leaf}}"),
        Rename(f"{layer}.linear2.{{leaf}}", f"{place}.ffn.down_proj.{{leaf}}"),
        Rename(f"{layer}.norm1.{{leaf}}", f"{place}.self_attention.norm.{{leaf}}"),
        Rename(f"{layer}.norm2.{{leaf}}", f"{place}.ffn.norm.{{leaf}}"),
        Rename(f"{theirs}FC.fc1.{{leaf}}", f"{ours}.up_proj.{{leaf}}"),
        Rename(f"{theirs}FC.fc2.{{leaf}}", f"{ours}.out_proj.{{leaf}}"),
    )


def _tower_rules(kind: str, ours: str) -> tuple[Rule, ...]:
    """Rules of the trained towers, or of those that follow."""
    image, text = f"[learnable.]imgencoder{kind}", f"[learnable.]textencoder{kind}"
    words, encoder = f"{text}.backbone.bert", f"{ours}.text.encoder"
    return (
        *_attention_rules(f"{image}.learnable.img", f"{ours}.image.attention"),
        Rename(f"{image}.learnable.max_pool.0.{{leaf}}", f"{ours}.image.box_proj.{{leaf}}"),
        *move(f"{image}.backbone", f"{ours}.image.backbone"),
        *_attention_rules(f"{text}.learnable.text", f"{ours}.text.attention"),
        *embedding_rules(f"{words}.embeddings", f"{encoder}.embed.text"),
        Drop(f"{words}.embeddings.position_ids", because="a buffer that counts from 0"),
        *layer_rules(f"{words}.encoder.layer.{{i}}", f"{encoder}.layers.{{i}}"),
        Rename(f"{words}.pooler.dense.{{leaf}}", f"{encoder}.pooler.dense.{{leaf}}"),
    )


_HEAD = "heads.two-queues"

BRIVL = Recipe(
    name="brivl",
    family="brivl",
    paper="Huo et al. 2021, WenLan: Bridging Vision and Language by Large-Scale Multi-Modal Pre-Training, "
    "arXiv:2103.06561",
    build=brivl,
    model_types=("brivl",),
    reads=frozenset({"text", "images"}),
    heads={"two-queues": two_queues},
    objectives=("two-queue-contrast",),
    pretraining_heads=("two-queues",),
    read_config=read_config,
    infer_from_shapes={
        "embed_dim": ("encoder.image.attention.out_proj.weight", 0),
        "image_dim": ("encoder.image.box_proj.weight", 0),
    },
    infer_heads=queue_sizes,
    weights=(
        *_tower_rules("", "encoder"),
        *_tower_rules("_mom", _HEAD),
        Transpose("img_queue", f"{_HEAD}.image_queue.keys"),
        Transpose("text_queue", f"{_HEAD}.text_queue.keys"),
        Rename("img_queue_ptr", f"{_HEAD}.image_queue.pointer"),
        Rename("text_queue_ptr", f"{_HEAD}.text_queue.pointer"),
    ),
    notes=(
        "BERT reads padding as text: it is run without a mask",
        "boxes are mapped to a grid between cell centres and sampled from one between edges, as in the released code",
        "released checkpoints hold no queues; load them with heads=[] or fresh=['heads.two-queues.image_queue.', ...]",
        "the released loader shuffles the key batch but not the mask of its boxes; keys are not shuffled here",
        "the paper has EfficientNet-B7 and queues of 16384, the code B5 and 9600",
    ),
)

BRIVL_2 = Recipe(
    **{
        **vars(BRIVL),
        "name": "brivl-2",
        "family": "brivl-2",
        "paper": "Fei et al. 2022, Towards Artificial General Intelligence via a Multimodal Foundation Model, Nature "
        "Communications, arXiv:2110.14378",
        "sizes": {"backbone": "tf_efficientnet_b7.ns_jft_in1k", "image_dim": 2560, "image_size": 600},
        "notes": (
            *BRIVL.notes,
            "boxes are the cells of a 6 x 6 grid and the whole image, so that no detector is needed",
        ),
    }
)
