"""Steps of VOLTA's gated encoder: attention of each stream to itself, the other or both, and feed-forward.

Shapes: T token rows, R region rows, H heads.
"""

from __future__ import annotations

from torch import Tensor

from mm_kptm.batch import EVERY_ROW, NO_ROWS, Rows
from mm_kptm.errors import UserError
from mm_kptm.nn.assembly import JoinedLayout, join
from mm_kptm.nn.ragged import AttentionLayout, cross_attention_layout
from mm_kptm.nn.steps import ALL_PAIR_ROWS, Pair, PairRows, SelfStep, Step, Stream, between
from mm_kptm.nn.sublayers import AttentionSublayer, FeedForwardSublayer

Offer = tuple[Tensor, Tensor]  #: keys and values of a stream, each [rows, H, width of a head]


class GatedStep(Step):
    """Gated bimodal attention between two streams (Bugliarello et al. 2021, section 3.3).

    Keys and values of a stream come from its own sublayer. A stream that attends to itself and the other one has a
    single softmax over both, as in a single-stream model; the streams may share one sublayer. Rows masked from the
    ordinary rows of a stream are masked from the other stream too.

    Args:
        left: sublayer of the text.
        right: sublayer of the regions.
        reads: the open gates: tt, tv, vt, vv, query stream first.

    Raises:
        UserError: a stream attends to nothing, or the two differ in attention width or heads.
    """

    def __init__(self, left: AttentionSublayer, right: AttentionSublayer, reads: frozenset[str]) -> None:
        super().__init__()
        self.left = left
        self.right = right
        self.reads = reads
        text, regions = ((part.attention.query.out_features, part.attention.num_heads) for part in (left, right))
        if text != regions:
            raise UserError(
                "streams that read each other need attention of one width and one number of heads, but that of text "
                f"has {text[0]} and {text[1]}, that of regions {regions[0]} and {regions[1]}"
            )
        if not {"tt", "tv"} & reads or not {"vt", "vv"} & reads:
            raise UserError(f"each stream has to read something, but the open gates are {', '.join(sorted(reads))}")

    def forward(self, pair: Pair, asked: PairRows = ALL_PAIR_ROWS) -> Pair:
        left, right = pair
        if self.reads != {"tv", "vt"}:
            right = right.repeated()
        text, regions = self.left.attention.offer(left.x), self.right.attention.offer(right.x)
        text_gates, region_gates = ("tt" in self.reads, "tv" in self.reads), ("vv" in self.reads, "vt" in self.reads)
        return Pair(
            _read(self.left, left, right, (text, regions), text_gates, asked.left),
            _read(self.right, right, left, (regions, text), region_gates, asked.right),
        )

    def needs(self, asked: PairRows) -> PairRows:
        return asked if asked.left is NO_ROWS and asked.right is NO_ROWS else ALL_PAIR_ROWS


class FeedForwardStep(SelfStep):
    """Feed-forward in each stream; a side without a sublayer passes through."""

    def __init__(self, left: FeedForwardSublayer | None, right: FeedForwardSublayer | None) -> None:
        super().__init__(left, right)

    def forward(self, pair: Pair, asked: PairRows = ALL_PAIR_ROWS) -> Pair:
        """The pair after the step; the input already has only the output rows, as rows are independent."""
        left, right = pair
        return Pair(
            left if self.left is None else left._replace(x=self.left(left.x)),
            right if self.right is None else right._replace(x=self.right(right.x)),
        )

    def needs(self, asked: PairRows) -> PairRows:
        return asked


def _read(
    layer: AttentionSublayer,
    reader: Stream,
    other: Stream,
    offers: tuple[Offer, Offer],
    gates: tuple[bool, bool],
    rows: Rows,
) -> Stream:
    """A stream after attention; ``offers`` (keys, values) and ``gates`` are its own, then the other stream's."""
    if rows is NO_ROWS:
        return reader.select(NO_ROWS)
    own, beyond = gates
    if own and beyond:
        joint = join(reader.layout, other.layout, reader.x.device)
        key, value = (joint.rows(mine, theirs) for mine, theirs in zip(*offers, strict=True))
        attention_layout, x = _over_both(reader, other, joint), reader.x
        if not isinstance(rows, slice):
            attention_layout, x = attention_layout.restrict_queries(rows), x[rows]
    else:
        attention_layout = reader.attention if own else between(reader, other)
        attention_layout = attention_layout if isinstance(rows, slice) else attention_layout.restrict_queries(rows)
        x = attention_layout.query_states(reader.x)
        key, value = (
            offers[0] if own else (attention_layout.key_states(offers[1][0]), attention_layout.key_states(offers[1][1]))
        )
    read = layer.add(x, layer.attention.read(x, key, value, attention_layout))
    if rows is EVERY_ROW and (own or reader.shared is None):
        return reader._replace(x=read)
    return Stream.of(read, attention_layout.queries)


def _over_both(reader: Stream, other: Stream, joint: JoinedLayout) -> AttentionLayout:
    """Attention layout from a stream to itself and the other one jointly; the mask takes joint row numbers."""
    if reader.attention.mask is not None:
        mask = reader.attention.mask.scatter(joint.left, joint.layout.total)
    elif other.attention.mask is not None:
        mask = other.attention.mask.scatter(joint.right, joint.layout.total)
    else:
        return cross_attention_layout(reader.layout, joint.layout)
    return AttentionLayout(reader.layout, joint.layout, mask, query_rows=joint.left)
