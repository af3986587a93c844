"""Dual BERT: reading comprehension with an aligned translation."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mm_kptm.batch import ALL_ROWS, EVERY_ROW, Encoded, Inputs, OutputRows
from mm_kptm.errors import UserError
from mm_kptm.models.single import SingleStream
from mm_kptm.nn.assembly import required_text
from mm_kptm.nn.init import bert_init
from mm_kptm.nn.steps import Stream
from mm_kptm.nn.sublayers import bert_norm
from mm_kptm.nn.visibility import Open
from mm_kptm.recipes.bert import BERT_FIELDS, bert
from mm_kptm.systems.norm_eps import takes_norm_eps
from mm_kptm.systems.published_fields import check_fields
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.rules import Rename, Rule, Transpose


class SelfAdaptiveAttention(nn.Module):
    """Self-adaptive attention to a translation (Cui et al. 2019, section 4.2).

    ``softmax(softmax(Q Q') Q K' softmax(K K')' / sqrt(d)) V`` per head, dense, plus the state of the translation at the
    same place, norm. As released, the inner products are not scaled, and rows that nobody sees take part in the inner
    softmaxes: texts that are padded in length, with padding as masked rows, give the released numbers.

    Shapes: T text rows, U translation rows, D dim, H heads, n and m rows of one text and its translation.
    """

    def __init__(self, dim: int, num_heads: int, *, dropout: float = 0.1) -> None:
        super().__init__()
        if num_heads < 1 or dim % num_heads:
            raise UserError(f"a dim of {dim} cannot be divided evenly among {num_heads} heads")
        self.num_heads = num_heads
        self.query, self.key, self.value, self.dense = (nn.Linear(dim, dim) for _ in range(4))
        self.norm = bert_norm(dim)
        self.drop = nn.Dropout(dropout)

    def forward(self, text: Stream, other: Stream) -> Tensor:
        """Attention output of every text row over the translation, [T, D]."""
        seen = _seen(other)
        read, beside = [], []
        parts = zip(
            text.layout.split(self.query(text.x)),
            other.layout.split(self.key(other.x)),
            other.layout.split(self.value(other.x)),
            other.layout.split(seen),
            other.layout.split(other.x),
            strict=True,
        )
        for query, key, value, shown, states in parts:
            q, k, v = (rows.unflatten(-1, (self.num_heads, -1)).transpose(0, 1) for rows in (query, key, value))
            scores = (q @ q.mT).softmax(-1) @ (q @ k.mT) @ (k @ k.mT).softmax(-1).mT / q.shape[-1] ** 0.5  # [H, n, m]
            shares = self.drop(scores.masked_fill(~shown, -1e4).softmax(-1))
            read.append((shares @ v).transpose(0, 1).flatten(1))
            short = max(len(query) - len(states), 0)
            beside.append(torch.cat([states[: len(query)], states.new_zeros(short, states.shape[1])]))
        joined: Tensor = self.norm(self.drop(self.dense(torch.cat(read))) + torch.cat(beside))
        return joined


def _seen(stream: Stream) -> Tensor:
    """The rows visible to an ordinary row, [U]."""
    mask, device = stream.attention.mask, stream.x.device
    if mask is None:
        return torch.ones(len(stream.x), dtype=torch.bool, device=device)
    return Open.of(mask, len(stream.x), device).rows


class DualBert(nn.Module):
    """Shared BERT for a text and its translation (the target of the inputs), with attention between them.

    The states of the text are concatenated with their attention output, [T, 2 D]; those of the target are [U, D].
    """

    def __init__(self, bert: SingleStream, fuse: SelfAdaptiveAttention) -> None:
        super().__init__()
        self.bert = bert
        self.fuse = fuse
        self.dim = bert.dim

    def hidden_states(self, inputs: Inputs) -> Iterator[Stream]:
        """The states of the text alone at every depth."""
        return self.bert.hidden_states(Inputs(text=inputs.text))

    def forward(self, inputs: Inputs, output_rows: OutputRows = ALL_ROWS) -> Encoded:
        """The final states of the output rows.

        Raises:
            UserError: there is no translation.
        """
        required_text(inputs)
        if inputs.target is None:
            raise UserError("dual-bert reads a text beside its translation, so the inputs need a target")
        *_, text = self.hidden_states(inputs)
        *_, other = self.hidden_states(Inputs(text=inputs.target))
        fused = torch.cat([text.x, self.fuse(text, other)], -1)
        firsts = text.layout.starts(text.x.device)
        pooled = self.bert.pooler(text.x[firsts]) if output_rows.pooled else text.x[:0]
        states = {"text": fused, "target": other.x}
        return Encoded({name: x[output_rows[name]] for name, x in states.items() if output_rows.wants(name)}, pooled)

    def translated(self, inputs: Inputs) -> Tensor:
        """The states of the text alone, [T, D], for the answer representation."""
        states: Tensor = self.bert(Inputs(text=inputs.text), OutputRows({"text": EVERY_ROW}, pooled=False)).text
        return states


@takes_norm_eps
def dual_bert(
    *,
    dim: int = 768,
    num_heads: int = 12,
    num_layers: int = 12,
    ffn_dim: int = 3072,
    vocab_size: int = 119547,
    max_positions: int = 512,
    num_segments: int = 2,
    activation: str = "gelu",
    dropout: float = 0.1,
) -> DualBert:
    """The reader of Cui et al. (2019, section 4); the defaults are those of multilingual BERT."""
    encoder = bert(
        dim=dim,
        num_heads=num_heads,
        num_layers=num_layers,
        ffn_dim=ffn_dim,
        vocab_size=vocab_size,
        max_positions=max_positions,
        num_segments=num_segments,
        activation=activation,
        dropout=dropout,
    )
    fuse = SelfAdaptiveAttention(dim, num_heads, dropout=dropout)
    bert_init(fuse)
    return DualBert(encoder, fuse)


def read_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Check the configuration; it has no further sizes.

    Raises:
        UserError: the configuration has an unsupported value.
    """
    check_fields("dual-bert", config, {"position_embedding_type": ("absolute",), "is_decoder": (False,)})
    return {}


def answer_spans(encoder: DualBert) -> nn.Linear:
    """Start and end logits of every fused row, [P, 2 D] -> [P, 2]."""
    return nn.Linear(2 * encoder.dim, 2)


def translated_spans(encoder: DualBert) -> nn.Linear:
    """Start and end logits of every row of the translation, [P, D] -> [P, 2]."""
    return nn.Linear(encoder.dim, 2)


def _dense(theirs: str, ours: str) -> tuple[Rule, ...]:
    return Transpose(f"{theirs}/kernel", f"{ours}.weight"), Rename(f"{theirs}/bias", f"{ours}.bias")


def _norm(theirs: str, ours: str) -> tuple[Rule, ...]:
    return Rename(f"{theirs}/gamma", f"{ours}.weight"), Rename(f"{theirs}/beta", f"{ours}.bias")


def tensorflow_rules(theirs: str, ours: str) -> tuple[Rule, ...]:
    """Key renamings of BERT's TensorFlow variables in the scope ``theirs``, whose matrices are [in, out]."""
    text, layer, place = f"{ours}.embed.text", f"{theirs}/encoder/layer_{{i}}", f"{ours}.layers.{{i}}"
    tables = {"word_embeddings": "word", "token_type_embeddings": "segment", "position_embeddings": "position"}
    return (
        *(Rename(f"{theirs}/embeddings/{table}", f"{text}.{mine}.weight") for table, mine in tables.items()),
        *_norm(f"{theirs}/embeddings/LayerNorm", f"{text}.norm"),
        *(
            rule
            for role in ("query", "key", "value")
            for rule in _dense(f"{layer}/attention/self/{role}", f"{place}.self_attention.attention.{role}")
        ),
        *_dense(f"{layer}/attention/output/dense", f"{place}.self_attention.attention.out_proj"),
        *_norm(f"{layer}/attention/output/LayerNorm", f"{place}.self_attention.norm"),
        *_dense(f"{layer}/intermediate/dense", f"{place}.ffn.up_proj"),
        *_dense(f"{layer}/output/dense", f"{place}.ffn.down_proj"),
        *_norm(f"{layer}/output/LayerNorm", f"{place}.ffn.norm"),
        *_dense(f"{theirs}/pooler/dense", f"{ours}.pooler.dense"),
    )


_FUSION = "target/attention_fusion"

DUAL_BERT = Recipe(
    name="dual-bert",
    family="dual-bert",
    paper="Cui et al. 2019, Cross-Lingual Machine Reading Comprehension, EMNLP, arXiv:1909.00361",
    build=dual_bert,
    model_types=("bert",),
    reads=frozenset({"text", "target"}),
    heads={"answer-spans": answer_spans, "translated-spans": translated_spans},
    objectives=(),
    weights=(
        *tensorflow_rules("bert", "encoder.bert"),
        *(
            rule
            for role in ("query", "key", "value")
            for rule in _dense(f"{_FUSION}/attention/{role}", f"encoder.fuse.{role}")
        ),
        *_dense(f"{_FUSION}/transform/dense", "encoder.fuse.dense"),
        *_norm(f"{_FUSION}/transform/LayerNorm", "encoder.fuse.norm"),
        Rename("target/cls/squad/output_weights", "heads.answer-spans.weight"),
        Rename("target/cls/squad/output_bias", "heads.answer-spans.bias"),
        Rename("source/cls/squad/output_weights", "heads.translated-spans.weight"),
        Rename("source/cls/squad/output_bias", "heads.translated-spans.bias"),
    ),
    config_keys=BERT_FIELDS,
    read_config=read_config,
    infer_from_shapes={
        "vocab_size": ("encoder.bert.embed.text.word.weight", 0),
        "max_positions": ("encoder.bert.embed.text.position.weight", 0),
        "num_segments": ("encoder.bert.embed.text.segment.weight", 0),
    },
    notes=(
        "the state beside what is read is that of the translation at the same place, as released",
        "released inner softmaxes run over padding: give both texts one length, with padding as rows that nobody sees",
    ),
)
