"""K-Adapter: a frozen RoBERTa with factual and linguistic side adapters."""

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from mm_kptm.adaptation.side_adapter import AdaptedStream, adapt
from mm_kptm.knowledge.injection.marker_tokens import MARKINGS
from mm_kptm.nn.attention import Attention
from mm_kptm.nn.init import bert_init
from mm_kptm.nn.ragged import AttentionLayout
from mm_kptm.nn.sublayers import AttentionSublayer, NormBuilder
from mm_kptm.recipes.bert import layer_rules, norm_of
from mm_kptm.recipes.roberta import (
    ROBERTA_FIELDS,
    ROBERTA_READ,
    ROBERTA_TABLES,
    hugging_face_rules,
    roberta,
    roberta_sizes,
)
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.rules import Drop, OneOf, Rename, Rule
from mm_kptm.systems.text_format import TextFormat

PUBLISHED_SETS = ("factual", "linguistic")


def k_adapter(
    *,
    dim: int = 1024,
    num_heads: int = 16,
    num_layers: int = 24,
    ffn_dim: int = 4096,
    vocab_size: int = 50265,
    max_positions: int = 514,
    num_segments: int = 1,
    position_offset: int = 2,
    activation: str = "gelu",
    norm_eps: float = 1e-5,
    dropout: float = 0.1,
    attention_dropout: float | None = None,
    adapters: Sequence[str] | None = None,
    adapter_depths: Sequence[int] | None = None,
    adapter_dim: int = 768,
    adapter_heads: int = 12,
    adapter_layers: int = 2,
    adapter_ffn_dim: int = 3072,
    adapter_skip: int = 0,
    adapter_sight: str = "visible",
    fusion: str = "concat",
) -> AdaptedStream:
    """RoBERTa-large with the published adapters (Wang et al. 2021, figure 2).

    ``adapters`` names the sets, by default both published ones. ``adapter_depths`` are the hidden states they read, 0
    for the embeddings: 0, 11 and 22 by default, in that proportion for other depths. For ``adapter_skip``,
    ``adapter_sight`` and ``fusion`` see :mod:`mm_kptm.adaptation.side_adapter`.
    """
    encoder = roberta(
        dim=dim,
        num_heads=num_heads,
        num_layers=num_layers,
        ffn_dim=ffn_dim,
        vocab_size=vocab_size,
        max_positions=max_positions,
        num_segments=num_segments,
        position_offset=position_offset,
        activation=activation,
        norm_eps=norm_eps,
        dropout=dropout,
        attention_dropout=attention_dropout,
    )
    return adapt(
        encoder,
        PUBLISHED_SETS if adapters is None else adapters,
        depths=adapter_depths,
        width=adapter_dim,
        num_heads=adapter_heads,
        num_layers=adapter_layers,
        ffn_dim=adapter_ffn_dim,
        skip=adapter_skip,
        norm=partial(nn.LayerNorm, eps=norm_eps),
        dropout=dropout,
        fusion=fusion,
        sight=adapter_sight,
    )


class DependencyHeads(nn.Module):
    """Dependency head prediction: single-head self-attention, dense, then a score per position (section 3.4).

    A position is a class of its own, as in the released code: a text has at most ``max_length`` tokens.
    """

    def __init__(self, dim: int, max_length: int, norm: NormBuilder, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.self_attention = AttentionSublayer(Attention(dim, 1, dropout=dropout), norm(dim), dropout=dropout)
        self.dense = nn.Linear(dim, dim)
        self.drop = nn.Dropout(dropout)
        self.out = nn.Linear(dim, max_length)

    def forward(self, rows: Tensor, attention_layout: AttentionLayout) -> Tensor:
        """Rows [T, D] -> position scores [T, max_length]."""
        return self.out(self.drop(self.dense(self.self_attention(rows, attention_layout))))


def marked_relation(encoder: AdaptedStream, *, num_classes: int = 42, dropout: float = 0.1) -> nn.Sequential:
    """Two linear layers on the marker states of subject and object, concatenated, [B, 2 D] (section 3.3)."""
    return _two_maps(2 * encoder.dim, encoder.dim, num_classes, dropout)


def marked_typing(encoder: AdaptedStream, *, num_classes: int = 9, dropout: float = 0.1) -> nn.Sequential:
    """Two linear layers on the marker state of the mention; types with a positive score are predicted (section 4.1)."""
    return _two_maps(encoder.dim, encoder.dim, num_classes, dropout)


def dependency_heads(encoder: AdaptedStream, *, max_length: int = 64) -> DependencyHeads:
    """Head that predicts the position of every token's dependency head, with the encoder's attention (section 3.4)."""
    head = DependencyHeads(encoder.dim, max_length, norm_of(encoder))
    bert_init(head)
    return head


def _two_maps(width: int, inner: int, num_classes: int, dropout: float) -> nn.Sequential:
    parts: list[tuple[str, nn.Module]] = [
        ("dense", nn.Linear(width, inner)),
        ("drop", nn.Dropout(dropout)),
        ("out", nn.Linear(inner, num_classes)),
    ]
    head = nn.Sequential(OrderedDict(parts))
    bert_init(head)
    return head


def _side_rules(theirs: str, name: str) -> tuple[Rule, ...]:
    """Key rules of an adapter set under the prefix ``theirs`` (with its dot)."""
    adapter, place = f"{theirs}adapter.{{i}}", f"encoder.sides.{name}.adapters.{{i}}"
    return (
        Rename(f"{adapter}.down_project.{{leaf}}", f"{place}.down.{{leaf}}"),
        Rename(f"{adapter}.up_project.{{leaf}}", f"{place}.up.{{leaf}}"),
        *layer_rules(f"{adapter}.encoder.layer.{{j}}", f"{place}.layers.{{j}}"),
    )


def _head_rules(theirs: str, heads: Sequence[str]) -> tuple[Rule, ...]:
    """Key rules of the two output layers, which have the same keys in every task."""
    return (
        OneOf(f"{theirs}dense.{{leaf}}", tuple(f"heads.{head}.dense.{{leaf}}" for head in heads)),
        OneOf(f"{theirs}out_proj.{{leaf}}", tuple(f"heads.{head}.out.{{leaf}}" for head in heads)),
    )


def _forgotten(theirs: str) -> tuple[Drop, ...]:
    """Key rules that drop the parts of a released set used only in its pretraining."""
    parts = ("com_dense", "dense", "out_proj", "self_attention.{half}.dense", "self_attention.{half}.LayerNorm")
    because = "used only in the set's pretraining; fine-tuning has its own"
    return (
        *(Drop(f"{theirs}{part}.{{leaf}}", because=because) for part in parts),
        Drop(f"{theirs}self_attention.self.{{role}}.{{leaf}}", because=because),
    )


_BACKBONE: tuple[Rule, ...] = (
    *hugging_face_rules("[model.][roberta.]", "encoder"),
    Drop("lm_head.{leaf}", because="adapters are not trained to predict words"),
    Drop("lm_head.{part}.{leaf}", because="adapters are not trained to predict words"),
)


def _tables(name: str) -> dict[str, tuple[str, int]]:
    adapter = f"encoder.sides.{name}.adapters.0"
    adapter_tables = {
        "adapter_dim": (f"{adapter}.down.weight", 0),
        "adapter_ffn_dim": (f"{adapter}.layers.0.ffn.up_proj.weight", 0),
    }
    return {**ROBERTA_TABLES, **adapter_tables}


_SHARED: dict[str, Any] = {
    "family": "k_adapter",
    "paper": "Wang et al. 2021, K-Adapter: Infusing Knowledge into Pre-Trained Models with Adapters, "
    "Findings of ACL, arXiv:2002.01808",
    "build": k_adapter,
    "reads": frozenset({"text"}),
    "text": TextFormat(markers=MARKINGS["k-adapter"]),
    "config_keys": ROBERTA_FIELDS,
    "model_types": ("roberta",),
    "read_config": roberta_sizes,
    "read_fields": ROBERTA_READ,
    "notes": (
        "padding is masked; in the released code adapters attend to it, so that its results depend on the padding "
        "(reproduced by giving padding as masked-out tokens, with adapter_sight='everything')",
        "an adapter has a residual connection, so an untrained set returns the sum of the hidden states that it reads",
        "labels of the released dependency task have one consecutive slot per word, while its texts are split into "
        "word pieces",
    ),
}

K_ADAPTER = Recipe(
    name="k-adapter-large",
    heads={"marked-relation": marked_relation, "marked-typing": marked_typing},
    weights=(
        *_BACKBONE,
        *_side_rules("fac_adapter.", "factual"),
        *_side_rules("lin_adapter.", "linguistic"),
        *_forgotten("fac_adapter."),
        *_forgotten("lin_adapter."),
        Rename("task_dense_fac.{leaf}", "encoder.fusion.each.factual.{leaf}"),
        Rename("task_dense_lin.{leaf}", "encoder.fusion.each.linguistic.{leaf}"),
        Rename("task_dense.{leaf}", "encoder.fusion.join.{leaf}"),
        *_head_rules("", ("marked-relation", "marked-typing")),
    ),
    infer_from_shapes=_tables("factual"),
    **_SHARED,
)

K_ADAPTER_FACTUAL = Recipe(
    name="k-adapter-factual",
    heads={"marked-relation": marked_relation},
    objectives=("marked-relation",),
    weights=(
        *_BACKBONE,
        *_side_rules("[fac_adapter.]", "factual"),
        Rename("[fac_adapter.]com_dense.{leaf}", "encoder.fusion.each.factual.{leaf}"),
        *_head_rules("[fac_adapter.]", ("marked-relation",)),
    ),
    sizes={"adapters": ["factual"]},
    infer_from_shapes=_tables("factual"),
    **_SHARED,
)

_EXTRA = "[lin_adapter.]self_attention"

K_ADAPTER_LINGUISTIC = Recipe(
    name="k-adapter-linguistic",
    heads={"dependency-heads": dependency_heads},
    objectives=("dependency-heads",),
    weights=(
        *_BACKBONE,
        *_side_rules("[lin_adapter.]", "linguistic"),
        Rename("[lin_adapter.]com_dense.{leaf}", "encoder.fusion.each.linguistic.{leaf}"),
        Rename(f"{_EXTRA}.self.{{role}}.{{leaf}}", "heads.dependency-heads.self_attention.attention.{role}.{leaf}"),
        Rename(f"{_EXTRA}.output.dense.{{leaf}}", "heads.dependency-heads.self_attention.attention.out_proj.{leaf}"),
        Rename(f"{_EXTRA}.output.LayerNorm.{{leaf}}", "heads.dependency-heads.self_attention.norm.{leaf}"),
        *_head_rules("[lin_adapter.]", ("dependency-heads",)),
    ),
    sizes={"adapters": ["linguistic"]},
    infer_from_shapes=_tables("linguistic"),
    **_SHARED,
)
