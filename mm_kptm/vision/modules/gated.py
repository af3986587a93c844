"""The steps of VOLTA's gated encoder: attention in which each stream reads itself, the other or both, and feed-forward.

Shapes: T token rows, R region rows, H heads.
"""

from __future__ import annotations

from torch import Tensor

from mm_kptm.batch import ALL, NONE, Rows
from mm_kptm.errors import UserError
from mm_kptm.nn.assembly import Joint, join
from mm_kptm.nn.ragged import Reading, across
from mm_kptm.nn.steps import WHOLE, Asked, Pair, SelfStep, Step, Stream, between
from mm_kptm.nn.sublayers import AttentionSublayer, FeedForwardSublayer

Offer = tuple[Tensor, Tensor]  #: keys and values of a stream, each [rows, H, width of a head]


class GatedStep(Step):
    """Attention between two streams by the gates that are open (Bugliarello et al. 2021, section 3.3).

    Keys and values are made of a stream by its own sublayer, whoever reads them. A stream that reads itself and the
    other one has a single softmax over both, as in a single-stream model; the streams' sublayers may be one object.
    Rows that a stream hides from its ordinary ones are hidden from the other stream, too.

    Args:
        left: of the text.
        right: of the regions.
        reads: the open gates: tt, tv, vt, vv, reader first.

    Raises:
        UserError: a stream reads nothing, or the two differ in the width or the heads of their attention.
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

    def forward(self, pair: Pair, asked: Asked = WHOLE) -> Pair:
        left, right = pair
        if self.reads != {"tv", "vt"}:
            right = right.repeated()
        text, regions = self.left.attention.offer(left.x), self.right.attention.offer(right.x)
        text_gates, region_gates = ("tt" in self.reads, "tv" in self.reads), ("vv" in self.reads, "vt" in self.reads)
        return Pair(
            _read(self.left, left, right, (text, regions), text_gates, asked.left),
            _read(self.right, right, left, (regions, text), region_gates, asked.right),
        )

    def needs(self, asked: Asked) -> Asked:
        return asked if asked.left is NONE and asked.right is NONE else WHOLE


class FeedStep(SelfStep):
    """Feed-forward of each stream; a side without a sublayer waits unchanged."""

    def __init__(self, left: FeedForwardSublayer | None, right: FeedForwardSublayer | None) -> None:
        super().__init__(left, right)

    def forward(self, pair: Pair, asked: Asked = WHOLE) -> Pair:
        """The pair after the step; it holds only what is asked for already, as every row needs just itself."""
        left, right = pair
        return Pair(
            left if self.left is None else left._replace(x=self.left(left.x)),
            right if self.right is None else right._replace(x=self.right(right.x)),
        )

    def needs(self, asked: Asked) -> Asked:
        return asked


def _read(
    layer: AttentionSublayer,
    reader: Stream,
    other: Stream,
    offers: tuple[Offer, Offer],
    gates: tuple[bool, bool],
    rows: Rows,
) -> Stream:
    """A stream after reading; ``offers`` and ``gates`` are its own first, then those of the other stream."""
    if rows is NONE:
        return reader.taken(NONE)
    own, beyond = gates
    if own and beyond:
        joint = join(reader.layout, other.layout, reader.x.device)
        key, value = (joint.rows(mine, theirs) for mine, theirs in zip(*offers, strict=True))
        reading, x = _over_both(reader, other, joint), reader.x
        if not isinstance(rows, slice):
            reading, x = reading.narrowed(rows), x[rows]
    else:
        reading = reader.reading if own else between(reader, other)
        reading = reading if isinstance(rows, slice) else reading.narrowed(rows)
        x = reading.asked(reader.x)
        key, value = offers[0] if own else (reading.offered(offers[1][0]), reading.offered(offers[1][1]))
    read = layer.add(x, layer.attention.read(x, key, value, reading))
    if rows is ALL and (own or reader.shown is None):
        return reader._replace(x=read)
    return Stream.of(read, reading.queries)


def _over_both(reader: Stream, other: Stream, joint: Joint) -> Reading:
    """How a stream reads itself and the other one together; who sees whom is asked by numbers of joint rows."""
    if reader.reading.sees is not None:
        sees = reader.reading.sees.spread(joint.left, joint.layout.total)
    elif other.reading.sees is not None:
        sees = other.reading.sees.spread(joint.right, joint.layout.total)
    else:
        return across(reader.layout, joint.layout)
    return Reading(reader.layout, joint.layout, sees, rows=joint.left)
