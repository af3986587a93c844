"""One stack of layers over one assembled sequence: BERT and every system that puts all it reads in a row.

Shapes: T rows of the batch, B sequences, D dim.
"""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from mm_kptm.batch import ALL, EVERYTHING, Encoded, Inputs, Rows, Wanted
from mm_kptm.errors import UserError
from mm_kptm.nn.assembly import Assembled
from mm_kptm.nn.steps import Stream


class SingleStream(nn.Module):
    """An embedder, layers that each map the sequence to itself, and a pooler on the first row.

    Args:
        embed: from :class:`~mm_kptm.batch.Inputs` to :class:`~mm_kptm.nn.assembly.Assembled`.
        layers: modules called with the rows [T, D] and their reading.
        pooler: from first states [B, D] to sentence vectors [B, D].
        dim: D.

    Raises:
        UserError: there is no layer.
    """

    def __init__(self, embed: nn.Module, layers: Iterable[nn.Module], pooler: nn.Module, *, dim: int) -> None:
        super().__init__()
        self.embed = embed
        self.layers = nn.ModuleList(layers)
        self.pooler = pooler
        self.dim = dim
        if not self.layers:
            raise UserError("an encoder needs at least one layer, but num_layers is 0")

    def walk(self, inputs: Inputs) -> Iterator[Stream]:
        """The sequence at every depth: embedded, then after each layer."""
        stream: Stream = self.embed(inputs).stream
        yield stream
        for layer in self.layers:
            stream = stream._replace(x=layer(stream.x, stream.reading))
            yield stream

    def forward(self, inputs: Inputs, wanted: Wanted = EVERYTHING) -> Encoded:
        """The final states of what is wanted; the last layer finishes only those rows."""
        assembled: Assembled = self.embed(inputs)
        x, reading = assembled.stream
        *earlier, last = self.layers
        for layer in earlier:
            x = layer(x, reading)
        firsts = assembled.stream.layout.firsts(x.device)
        tokens, regions = _chosen(assembled.tokens, wanted.tokens), _chosen(assembled.regions, wanted.regions)
        if wanted.tokens is ALL and wanted.regions is ALL:
            x = last(x, reading)
        else:
            rows, (firsts, tokens, regions) = _compact(
                firsts if wanted.pooled else firsts[:0],
                _numbers(tokens, len(x), x.device),
                _numbers(regions, len(x), x.device),
            )
            x = last(x, reading.narrowed(rows))
        pooled = self.pooler(x[firsts]) if wanted.pooled else x.new_empty(0, x.shape[-1])
        return Encoded(tokens=x[tokens], regions=x[regions], pooled=pooled)


def _chosen(places: Rows, wanted: Rows) -> Rows:
    """Where the wanted rows of a part stand in the sequence."""
    if isinstance(places, slice):
        return wanted if places is ALL else places
    return places[wanted]


def _numbers(rows: Rows, total: int, device: torch.device) -> Tensor:
    return torch.arange(total, device=device)[rows] if isinstance(rows, slice) else rows


def _compact(*groups: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """All rows of some groups once and in order, and where each group finds its own among them."""
    rows, found = torch.unique(torch.cat(groups), return_inverse=True)
    return rows, found.split([len(group) for group in groups])
