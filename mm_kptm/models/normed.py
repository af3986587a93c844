"""Single-stream encoder with a norm after its last layer, as pre-norm encoders have.

Shapes: T rows, D dim.
"""

from collections.abc import Iterable, Iterator

from torch import Tensor, nn

from mm_kptm.batch import Inputs
from mm_kptm.models.single import SingleStream
from mm_kptm.nn.assembly import Assembled
from mm_kptm.nn.ragged import AttentionLayout
from mm_kptm.nn.steps import Stream


class NormedSingleStream(SingleStream):
    """Single-stream encoder whose final states are normed.

    Args:
        embed, layers, pooler, dim: as of :class:`~mm_kptm.models.single.SingleStream`.
        norm: of the final states.
    """

    def __init__(
        self, embed: nn.Module, layers: Iterable[nn.Module], pooler: nn.Module, *, dim: int, norm: nn.Module
    ) -> None:
        super().__init__(embed, layers, pooler, dim=dim)
        self.norm = norm

    def hidden_states(self, inputs: Inputs) -> Iterator[Stream]:
        """The embedded sequence, then its states after each layer, the last ones normed."""
        for depth, stream in enumerate(super().hidden_states(inputs)):
            yield stream._replace(x=self.norm(stream.x)) if depth == len(self.layers) else stream

    def run(self, inputs: Inputs, assembled: Assembled, last: AttentionLayout) -> Tensor:
        """The normed final states of the query rows of ``last``, the attention layout of the last layer."""
        rows: Tensor = self.norm(super().run(inputs, assembled, last))
        return rows
