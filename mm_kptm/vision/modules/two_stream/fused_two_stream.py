"""Two-stream encoders with a fused pooled vector of text and image: ViLBERT and VOLTA's models.

Shapes: T token rows, R region rows expanded per text, B texts, D dim of the text, E of the regions, P pooled dim.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from mm_kptm.batch import ALL_ROWS, EVERY_ROW, NO_ROWS, Encoded, OutputRows, Rows
from mm_kptm.errors import UserError
from mm_kptm.models.rows import rows_to_finish
from mm_kptm.models.two_stream import TwoStream
from mm_kptm.nn.steps import Pair, PairRows, Step
from mm_kptm.nn.sublayers import activation_named
from mm_kptm.nn.submodules import submodule
from mm_kptm.vision.modules.two_stream.whole_image import TextBesideImage, filled

#: Fusions of two vectors [B, P], by the names of published options.
FUSIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"mul": torch.mul, "sum": torch.add}


class FusedPooler(nn.Module):
    """Pooled vector from the first states of text and image (Lu et al. 2019, section 2.3).

    Each goes through a dense layer and an activation; their product or sum is the pooled vector. A text without an
    image is pooled alone.

    Args:
        dim: D.
        region_states: E; None: the text is pooled alone, whatever image it has.
        pooled_dim: P.
        fusion: ``mul``, ``sum`` or, without ``region_states``, ``text``.
        activation: ``relu``, not BERT's ``tanh``, in everything published.
        dropout: of the pooled vector.

    Raises:
        UserError: another fusion.
    """

    def __init__(
        self,
        dim: int,
        region_states: int,
        pooled_dim: int,
        *,
        fusion: str = "mul",
        activation: str = "relu",
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if fusion not in (*FUSIONS, "text"):
            raise UserError(f"text and image are pooled by {', '.join(FUSIONS)} or text, not by {fusion!r}")
        self.text = nn.Linear(dim, pooled_dim)
        self.regions = None if fusion == "text" else nn.Linear(region_states, pooled_dim)
        self.fuse = FUSIONS.get(fusion)
        self.activation = activation_named(activation)
        self.drop = nn.Dropout(dropout)

    def of_text(self, first: Tensor) -> Tensor:
        """[B, D] -> [B, P]."""
        return self.activation(self.text(first))

    def of_regions(self, first: Tensor) -> Tensor:
        """[B, E] -> [B, P].

        Raises:
            UserError: the text is pooled alone.
        """
        if self.regions is None:
            raise UserError("this model pools the text alone, so there is no pooled vector of the image")
        return self.activation(self.regions(first))

    def forward(self, text: Tensor, regions: Tensor, owners: Tensor) -> Tensor:
        """The pooled vector of every text, [B, P].

        Args:
            text: first states of the texts, [B, D].
            regions: first states of the images of those texts that have one, [I, E].
            owners: which text each of these belongs to, [I].
        """
        pooled = self.of_text(text)
        if self.regions is not None and self.fuse is not None:
            pooled = pooled.index_copy(0, owners, self.fuse(pooled[owners], self.of_regions(regions)))
        return self.drop(pooled)


class FusedTwoStream(TwoStream):
    """Two-stream encoder that pools both streams and whose embedder maps input rows to stream rows.

    Attributes:
        region_states: E, the width of the regions' states.
        pooled_dim: P.
    """

    def __init__(
        self,
        embed: TextBesideImage,
        steps: Iterable[tuple[str, Step]],
        pooler: FusedPooler,
        *,
        dim: int,
        region_states: int,
    ) -> None:
        super().__init__(embed, steps, pooler, dim=dim)
        self.region_states = region_states
        self.pooled_dim = pooler.text.out_features

    def together(self, pair: Pair, output_rows: OutputRows = ALL_ROWS) -> Encoded:
        """The final states from the output of :meth:`apart`."""
        device, layout, beside = pair.left.x.device, pair.left.layout, pair.right.aligned_layout
        pooled = output_rows.pooled and layout.total > 0
        firsts, owners = layout.starts(device), torch.arange(len(beside), device=device)[filled(beside, device)]
        wholes = beside.starts(device)[owners]
        if not pooled:
            firsts, owners, wholes = firsts[:0], owners[:0], wholes[:0]
        embed = submodule(self, "embed", TextBesideImage)
        text, regions = (output_rows[name] for name in self.streams)
        left, (_, text_rows, first) = rows_to_finish(
            layout.total, device, _whole(text), _among(embed.token_rows(layout, device), text), firsts
        )
        right, (_, region_rows, whole) = rows_to_finish(
            beside.total, device, _whole(regions), _among(embed.region_rows(beside, device), regions), wholes
        )
        steps = self._all()[len(self._apart()) :]
        needed = [PairRows(left, right)]  # output rows of the last step; then those of each earlier step, last to first
        for step in reversed(steps):
            needed.append(step.needs(needed[-1]))
        before = needed.pop()
        pair = Pair(pair.left.select(before.left), pair.right.select(before.right))
        for step, rows in zip(steps, reversed(needed), strict=True):
            pair = step(pair, rows)
        x, y = pair.left.x, pair.right.repeated().x
        vectors = self.pooler(x[first], y[whole], owners) if pooled else x.new_empty(0, self.pooled_dim)
        states = dict(zip(self.streams, (x[text_rows], y[region_rows]), strict=True))
        return Encoded({name: rows for name, rows in states.items() if output_rows.wants(name)}, vectors)


def _whole(output_rows: Rows) -> Rows:
    """All rows of a stream if all rows of the inputs are read, so that nothing has to be selected."""
    return EVERY_ROW if output_rows is EVERY_ROW else NO_ROWS


def _among(rows: Rows, output_rows: Rows) -> Rows:
    """The rows of a stream that hold the selected rows of the inputs."""
    if output_rows is EVERY_ROW or isinstance(rows, slice):
        return rows if output_rows is EVERY_ROW else output_rows
    return rows[output_rows]
