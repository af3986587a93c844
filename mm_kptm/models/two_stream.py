"""Two-stream encoders: self-attention in each stream, then cross-attention, as in LXMERT and ViLBERT.

Shapes: T rows of the left stream, R rows of the right one, B sequences, D dim of the left stream, E of the right one.
"""

from collections.abc import Iterable, Iterator
from itertools import takewhile
from typing import cast

from torch import nn

from mm_kptm.batch import ALL_ROWS, Encoded, Inputs, OutputRows
from mm_kptm.errors import UserError
from mm_kptm.models.rows import rows_to_finish
from mm_kptm.nn.steps import Pair, PairRows, SelfStep, Step


class TwoStream(nn.Module):
    """Embedder, named steps on a pair of streams, and a pooler on the first row of the left one.

    Before the first cross step each stream is computed by itself: sequences of the right stream that several of the
    left one share (an image and its questions) go through their own layers once. Rows that no output depends on are not
    computed. A left sequence without a right one attends to nothing in a cross step: its attention output is zero.

    Args:
        embed: from :class:`~mm_kptm.batch.Inputs` to :class:`~mm_kptm.nn.steps.Pair`.
        steps: named steps in their order; the names prefix their parameters.
        pooler: from first states [B, D] to sentence vectors.
        dim: D; the right stream's dim follows from its embedder and steps.
        streams: names of the left and the right stream in :class:`~mm_kptm.batch.Encoded`.

    Raises:
        UserError: there is no step.
    """

    def __init__(
        self,
        embed: nn.Module,
        steps: Iterable[tuple[str, Step]],
        pooler: nn.Module,
        *,
        dim: int,
        streams: tuple[str, str] = ("text", "regions"),
    ) -> None:
        super().__init__()
        self.streams = streams
        self.embed = embed
        self.steps = nn.ModuleDict(dict(steps))
        self.pooler = pooler
        self.dim = dim
        if not self.steps:
            raise UserError("a two-stream encoder needs at least one layer, but every number of layers is 0")

    def _apart(self) -> list[Step]:
        """The steps before the first cross-attention."""
        return list(takewhile(lambda step: isinstance(step, SelfStep), self._all()))

    def _all(self) -> list[Step]:
        return cast(list[Step], list(self.steps.values()))

    def hidden_states(self, inputs: Inputs) -> Iterator[Pair]:
        """The embedded pair, then its states after each step; cross-attention expands shared sequences."""
        pair: Pair = self.embed(inputs)
        yield pair
        for step in self._all():
            pair = step(pair)
            yield pair

    def apart(self, inputs: Inputs) -> Pair:
        """The streams before the first cross-attention; either may be missing, and both may be cached."""
        pair: Pair = self.embed(inputs)
        for step in self._apart():
            pair = step(pair)
        return pair

    def together(self, pair: Pair, output_rows: OutputRows = ALL_ROWS) -> Encoded:
        """The final states from the output of :meth:`apart`."""
        device, layout = pair.left.x.device, pair.left.layout
        pooled = output_rows.pooled and layout.total > 0
        starts = layout.starts(device)
        left_name, right_name = self.streams
        left, (left_rows, first) = rows_to_finish(
            layout.total, device, output_rows[left_name], starts if pooled else starts[:0]
        )
        right, (right_rows,) = rows_to_finish(pair.right.aligned_layout.total, device, output_rows[right_name])
        steps = self._all()[len(self._apart()) :]
        needed = [PairRows(left, right)]  # output rows of the last step; then those of each earlier step, last to first
        for step in reversed(steps):
            needed.append(step.needs(needed[-1]))
        before = needed.pop()
        pair = Pair(pair.left.select(before.left), pair.right.select(before.right))
        for step, rows in zip(steps, reversed(needed), strict=True):
            pair = step(pair, rows)
        x, y = pair.left.x, pair.right.repeated().x
        states = {left_name: x[left_rows], right_name: y[right_rows]}
        wanted = {name: rows for name, rows in states.items() if output_rows.wants(name)}
        return Encoded(wanted, self.pooler(x[first]))

    def forward(self, inputs: Inputs, output_rows: OutputRows = ALL_ROWS) -> Encoded:
        """The final states of the wanted rows; without text nothing is pooled."""
        return self.together(self.apart(inputs), output_rows)
