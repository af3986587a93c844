"""Two streams that first read themselves and then each other: LXMERT, ViLBERT and their kin.

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
    """An embedder, named steps that move a pair of streams forward, and a pooler on the first row of the left one.

    Until a step lets the streams meet, each is computed by itself: sequences of the right stream that several of the
    left one share (an image and its questions) go through their own layers once. What is not read off the last steps
    is not computed. A left sequence without a companion has nothing to read in a cross step, so what it reads is zero.

    Args:
        embed: from :class:`~mm_kptm.batch.Inputs` to :class:`~mm_kptm.nn.steps.Pair`.
        steps: names, under which their parameters are found, and steps in their order.
        pooler: from first states [B, D] to sentence vectors.
        dim: D; the right stream's own dim is what its embedder and steps make of it.
        streams: what the left and the right stream are called in :class:`~mm_kptm.batch.Encoded`.

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
        """The steps before the streams meet."""
        return list(takewhile(lambda step: isinstance(step, SelfStep), self._all()))

    def _all(self) -> list[Step]:
        return cast(list[Step], list(self.steps.values()))

    def hidden_states(self, inputs: Inputs) -> Iterator[Pair]:
        """The pair at every depth: embedded, then after each step; what is shared is repeated where streams meet."""
        pair: Pair = self.embed(inputs)
        yield pair
        for step in self._all():
            pair = step(pair)
            yield pair

    def apart(self, inputs: Inputs) -> Pair:
        """The streams as far as each comes by itself; either may be missing, and both may be kept for later."""
        pair: Pair = self.embed(inputs)
        for step in self._apart():
            pair = step(pair)
        return pair

    def together(self, pair: Pair, output_rows: OutputRows = ALL_ROWS) -> Encoded:
        """The final states of streams that have come as far as :meth:`apart`."""
        device, layout = pair.left.x.device, pair.left.layout
        pooled = output_rows.pooled and layout.total > 0
        firsts = layout.starts(device)
        left_name, right_name = self.streams
        left, (left_rows, first) = rows_to_finish(
            layout.total, device, output_rows[left_name], firsts if pooled else firsts[:0]
        )
        right, (right_rows,) = rows_to_finish(pair.right.aligned_layout.total, device, output_rows[right_name])
        steps = self._all()[len(self._apart()) :]
        asked = [PairRows(left, right)]  # after the last step; then what each step needs, from the last to the first
        for step in reversed(steps):
            asked.append(step.needs(asked[-1]))
        before = asked.pop()
        pair = Pair(pair.left.select(before.left), pair.right.select(before.right))
        for step, rows in zip(steps, reversed(asked), strict=True):
            pair = step(pair, rows)
        x, y = pair.left.x, pair.right.repeated().x
        states = {left_name: x[left_rows], right_name: y[right_rows]}
        wanted = {name: rows for name, rows in states.items() if output_rows.wants(name)}
        return Encoded(wanted, self.pooler(x[first]))

    def forward(self, inputs: Inputs, output_rows: OutputRows = ALL_ROWS) -> Encoded:
        """The final states of what is wanted; without text nothing is pooled."""
        return self.together(self.apart(inputs), output_rows)
