"""FILTER: XLM-R's layers over a text and its translation: local, fusion and domain layers."""

import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mm_kptm.batch import ALL_ROWS, EVERY_ROW, Encoded, Inputs, OutputRows, SequenceLayout, Tokens, row_numbers
from mm_kptm.errors import UserError
from mm_kptm.models.rows import union_of_rows
from mm_kptm.nn.assembly import join, required_text
from mm_kptm.nn.attention import set_attention_dropout
from mm_kptm.nn.embeddings import TextEmbedding
from mm_kptm.nn.init import bert_init
from mm_kptm.nn.ragged import masked_self_attention_layout
from mm_kptm.nn.steps import Stream
from mm_kptm.nn.sublayers import bert_layer
from mm_kptm.nn.visibility import Branches, Open
from mm_kptm.recipes.bert import BERT_FIELDS, answer_spans, embedding_rules, layer_rules, token_classes
from mm_kptm.systems.published_fields import check_fields
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.rules import Drop, Rename


class Filter(nn.Module):
    """Local, fusion and domain layers over a text and its translation (Fang et al. 2021, section 3.1).

    The translation is the target of the inputs. The pooled state is the first state of the text.

    Shapes: T text rows, U translation rows, D dim.

    Args:
        text: embedding of both texts.
        local: layers on each text separately.
        fusion: layers on the concatenated texts.
        domain: final layers on each text separately.
        dim: D.

    Raises:
        UserError: there is no layer, or, when called, no translation.
    """

    def __init__(
        self, text: TextEmbedding, local: nn.ModuleList, fusion: nn.ModuleList, domain: nn.ModuleList, *, dim: int
    ) -> None:
        super().__init__()
        if not len(local) + len(fusion) + len(domain):
            raise UserError("an encoder needs at least one layer, but there is none of any kind")
        self.text = text
        self.local, self.fusion, self.domain = local, fusion, domain
        self.dim = dim

    def hidden_states(self, inputs: Inputs) -> Iterator[Stream]:
        """Both texts at every depth, all rows of the text before all of the translation."""
        apart, (text, other) = self._embedded(inputs)
        yield apart
        for layer in self.local:
            apart = apart._replace(x=layer(apart.x, apart.attention))
            yield apart
        both = join(text.layout, other.layout, apart.x.device)
        back, x = torch.cat([both.left, both.right]), apart.x.index_select(0, both.order)
        mask = apart.attention.mask
        attention_layout = masked_self_attention_layout(
            both.layout, None if mask is None else mask.scatter(back, len(x))
        )
        for layer in self.fusion:
            x = layer(x, attention_layout)
            yield apart._replace(x=x.index_select(0, back))
        apart = apart._replace(x=x.index_select(0, back))
        for layer in self.domain:
            apart = apart._replace(x=layer(apart.x, apart.attention))
            yield apart

    def forward(self, inputs: Inputs, output_rows: OutputRows = ALL_ROWS) -> Encoded:
        """The final states of the output rows; the last domain layer computes only those."""
        text, other = _translated(inputs)
        total, device = text.layout.total, text.ids.device
        firsts = text.layout.starts(device)
        firsts = firsts if output_rows.pooled else firsts[:0]
        places = {
            "text": row_numbers(output_rows["text"], total, device),
            "target": total + row_numbers(output_rows["target"], other.layout.total, device),
        }
        places = {name: rows for name, rows in places.items() if output_rows.wants(name)}
        whole = output_rows["text"] is EVERY_ROW and output_rows["target"] is EVERY_ROW
        if whole or not self.domain:
            *_, last = self.hidden_states(inputs)
            return Encoded({name: last.x[rows] for name, rows in places.items()}, last.x[firsts])
        rows, (firsts, *found) = union_of_rows(firsts, *places.values())
        depths = len(self.local) + len(self.fusion) + len(self.domain)
        before = next(stream for depth, stream in enumerate(self.hidden_states(inputs)) if depth == depths - 1)
        x = self.domain[-1](before.x, before.attention.restrict_queries(rows))
        return Encoded({name: x[rows] for name, rows in zip(places, found, strict=True)}, x[firsts])

    def _embedded(self, inputs: Inputs) -> tuple[Stream, tuple[Tokens, Tokens]]:
        text, other = _translated(inputs)
        layout = SequenceLayout(text.layout.lengths + other.layout.lengths)
        x = torch.cat([self.text(text), self.text(other)])
        return Stream.of(x, layout, _open(text, other)), (text, other)


def _translated(inputs: Inputs) -> tuple[Tokens, Tokens]:
    text = required_text(inputs)
    if inputs.target is None:
        raise UserError(
            "filter reads a text beside its translation, so the inputs need a target; an English text is its own"
        )
    if isinstance(text.attention_mask, Branches):
        raise UserError(
            "filter joins a text with its translation, which leaves no room for facts that hang from its words; take "
            "an encoder that reads texts alone, or leave the facts out"
        )
    return text, inputs.target


def _open(text: Tokens, other: Tokens) -> Open | None:
    """The rows of both texts visible to an ordinary row; None without a mask."""
    seen = [
        torch.ones(one.rows, dtype=torch.bool, device=one.ids.device)
        if one.attention_mask is None
        else Open.of(one.attention_mask, one.rows, one.ids.device).rows
        for one in (text, other)
    ]
    rows = torch.cat(seen)
    return None if rows.all() else Open(rows)


def filter_xlm_r(
    *,
    dim: int = 1024,
    num_heads: int = 16,
    local_layers: int = 1,
    fusion_layers: int = 20,
    domain_layers: int = 3,
    ffn_dim: int = 4096,
    vocab_size: int = 250002,
    max_positions: int = 514,
    num_segments: int = 1,
    position_offset: int = 2,
    activation: str = "gelu",
    norm_eps: float = 1e-5,
    dropout: float = 0.1,
    attention_dropout: float | None = None,
) -> Filter:
    """The encoder of Fang et al. (2021, section 3.1); the defaults are those of question answering.

    XLM-R large in three parts; the other tasks have 1 fusion and 22 domain layers.
    """
    norm = partial(nn.LayerNorm, eps=norm_eps)
    text = TextEmbedding(
        vocab_size,
        dim,
        max_positions=max_positions,
        num_segments=num_segments,
        position_offset=position_offset,
        norm=norm(dim),
        dropout=dropout,
    )

    def layers(count: int) -> nn.ModuleList:
        return nn.ModuleList(
            bert_layer(dim, num_heads, ffn_dim=ffn_dim, activation=activation, dropout=dropout, norm=norm)
            for _ in range(count)
        )

    encoder = Filter(text, layers(local_layers), layers(fusion_layers), layers(domain_layers), dim=dim)
    if attention_dropout is not None:
        set_attention_dropout(encoder, attention_dropout)
    bert_init(encoder)
    return encoder


def classes(encoder: Filter, *, num_classes: int = 3, dropout: float = 0.1) -> nn.Sequential:
    """Linear, ReLU, linear on the first state of a text (released code)."""
    dim = encoder.dim
    return nn.Sequential(
        nn.Dropout(dropout), nn.Linear(dim, dim), nn.ReLU(), nn.Dropout(dropout), nn.Linear(dim, num_classes)
    )


_PARTS = {"encoder.layer": "local", "fusion": "fusion", "domain": "domain"}
_FIELDS = {**BERT_FIELDS, "attention_probs_dropout_prob": "attention_dropout"}
del _FIELDS["num_hidden_layers"]


def read_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Depths of the three parts, and the position offset.

    Raises:
        UserError: the configuration has an unsupported value.
    """
    built = {"position_embedding_type": ("absolute",), "is_decoder": (False,), "add_cross_attention": (False,)}
    check_fields("filter", config, built)
    sizes: dict[str, Any] = {}
    if config.get("pad_token_id") is not None:
        sizes["position_offset"] = config["pad_token_id"] + 1
    if "filter_m" in config and "filter_k" in config:
        total = config.get("total_layers", 24)  # the released code has no other depth
        local = config["filter_m"]
        fusion = min(config["filter_k"], total - local)
        sizes |= {"local_layers": local, "fusion_layers": fusion, "domain_layers": total - local - fusion}
    return sizes


def infer_sizes(tensors: Mapping[str, Tensor], sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Number of layers of each kind in a checkpoint."""
    return {
        f"{part}_layers": len({found[1] for name in tensors if (found := re.match(rf"encoder\.{part}\.(\d+)\.", name))})
        for part in _PARTS.values()
    }


def from_xlm_r(tensors: Mapping[str, Tensor], *, local: int, fusion: int) -> dict[str, Tensor]:
    """XLM-R's tensors in Hugging Face's names under FILTER's: the first ``local`` layers, ``fusion`` more, the rest."""

    def renamed(name: str) -> str:
        found = re.fullmatch(r"roberta\.encoder\.layer\.(\d+)\.(.*)", name)
        if found is None:
            return re.sub(r"^roberta\.", "filter.", name)
        number, rest = int(found[1]), found[2]
        if number < local:
            return f"filter.encoder.layer.{number}.{rest}"
        if number < local + fusion:
            return f"filter.fusion.{number - local}.{rest}"
        return f"filter.domain.{number - local - fusion}.{rest}"

    return {renamed(name): tensor for name, tensor in tensors.items() if not name.startswith("lm_head.")}


FILTER = Recipe(
    name="filter",
    family="filter",
    paper="Fang et al. 2021, FILTER: An Enhanced Fusion Method for Cross-lingual Language Understanding, AAAI, "
    "arXiv:2009.05166",
    build=filter_xlm_r,
    model_types=("xlm-roberta",),
    reads=frozenset({"text", "target"}),
    heads={"classifier": classes, "token-classifier": token_classes, "answer-spans": answer_spans},
    objectives=(),
    weights=(
        *embedding_rules("filter.embeddings", "encoder.text"),
        Drop("filter.embeddings.position_ids", because="a buffer that counts from 0"),
        *(
            rule
            for theirs, ours in _PARTS.items()
            for rule in layer_rules(f"filter.{theirs}.{{i}}", f"encoder.{ours}.{{i}}")
        ),
        Drop("filter.pooler.dense.{leaf}", because="no head of the released code reads it"),
        Rename("output.{i}.{leaf}", "heads.classifier.{i}.{leaf}"),
        Rename("classifier.{leaf}", "heads.token-classifier.1.{leaf}"),
        Rename("qa_outputs.{leaf}", "heads.answer-spans.{leaf}"),
    ),
    config_keys=_FIELDS,
    read_config=read_config,
    infer_from_shapes={
        "vocab_size": ("encoder.text.word.weight", 0),
        "max_positions": ("encoder.text.position.weight", 0),
        "num_segments": ("encoder.text.segment.weight", 0),
    },
    infer_sizes=infer_sizes,
    notes=(
        "a checkpoint of XLM-R is a start: rename its tensors with from_xlm_r",
        "the released loss of the second language reads the second token of the first one; the paper reads the first "
        "token of the translation, which is what the states of the target begin with here",
    ),
)
