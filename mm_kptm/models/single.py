"""Single-stream encoders: one stack of layers over one assembled sequence, as in BERT and UNITER.

Shapes: T rows of the batch, B sequences, D dim.
"""

from collections.abc import Iterable, Iterator

from torch import Tensor, nn

from mm_kptm.batch import ALL_ROWS, EVERY_ROW, Encoded, Inputs, OutputRows, Rows, row_numbers
from mm_kptm.batch.rows import rows_at
from mm_kptm.errors import UserError
from mm_kptm.models.rows import union_of_rows
from mm_kptm.nn.assembly import Assembled
from mm_kptm.nn.ragged import AttentionLayout
from mm_kptm.nn.steps import Stream


class SingleStream(nn.Module):
    """Embedder, encoder layers and a pooler on the first row.

    Args:
        embed: from :class:`~mm_kptm.batch.Inputs` to :class:`~mm_kptm.nn.assembly.Assembled`.
        layers: modules called with the rows [T, D] and their attention layout.
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

    def hidden_states(self, inputs: Inputs) -> Iterator[Stream]:
        """The embedded sequence, then its states after each layer."""
        stream: Stream = self.embed(inputs).stream
        yield stream
        for layer in self.layers:
            stream = stream._replace(x=layer(stream.x, stream.attention))
            yield stream

    def forward(self, inputs: Inputs, output_rows: OutputRows = ALL_ROWS) -> Encoded:
        """The final states of the wanted rows; the last layer computes only those."""
        assembled: Assembled = self.embed(inputs)
        stream = assembled.stream
        starts = stream.layout.starts(stream.x.device)
        wanted = {
            name: _chosen(places, output_rows[name])
            for name, places in assembled.parts.items()
            if output_rows.wants(name)
        }
        last = stream.attention
        if any(output_rows[name] is not EVERY_ROW for name in assembled.parts):
            rows, (starts, *places) = union_of_rows(
                starts if output_rows.pooled else starts[:0],
                *(row_numbers(part, len(stream.x), stream.x.device) for part in wanted.values()),
            )
            wanted = dict(zip(wanted, places, strict=True))
            last = last.restrict_queries(rows)
        x = self.run(inputs, assembled, last)
        pooled = self.pooler(x[starts]) if output_rows.pooled else x.new_empty(0, x.shape[-1])
        return Encoded({name: x[rows] for name, rows in wanted.items()}, pooled)

    def run(self, inputs: Inputs, assembled: Assembled, last: AttentionLayout) -> Tensor:
        """The final states of the query rows of ``last``, the attention layout of the last layer."""
        x, attention_layout = assembled.stream.x, assembled.stream.attention
        *earlier, final = self.layers
        for layer in earlier:
            x = layer(x, attention_layout)
        rows: Tensor = final(x, last)
        return rows


def _chosen(places: Rows, output_rows: Rows) -> Rows:
    """Rows of the assembled sequence that hold the wanted rows of a stream."""
    if isinstance(places, slice):
        return output_rows if places is EVERY_ROW else places
    return rows_at(places, output_rows)
