"""An encoder that reads and a decoder that writes.

Shapes: B sources, T target rows, D dim.
"""

from collections.abc import Iterator

from torch import Tensor, nn

from mm_kptm.batch import ALL_ROWS, Encoded, Inputs, OutputRows
from mm_kptm.models.single import SingleStream
from mm_kptm.nn.decoder import Decoder
from mm_kptm.nn.steps import Stream


class Seq2Seq(nn.Module):
    """An encoder of any kind of source, and a decoder that reads all its rows while it writes a text.

    Without a target in the inputs it is its encoder alone.

    Args:
        source: reads everything but the target.
        target: writes it.
    """

    def __init__(self, source: SingleStream, target: Decoder) -> None:
        super().__init__()
        self.source = source
        self.target = target
        self.dim = source.dim

    def read(self, inputs: Inputs) -> Stream:
        """The final states of the source, which the decoder reads."""
        *_, stream = self.source.hidden_states(inputs)
        return stream

    def hidden_states(self, inputs: Inputs) -> Iterator[Stream]:
        """The source at every depth, and then the target at every depth."""
        for stream in self.source.hidden_states(inputs):
            yield stream
        if inputs.target is not None:
            yield from self.target.hidden_states(inputs.target, stream)

    def forward(self, inputs: Inputs, output_rows: OutputRows = ALL_ROWS) -> Encoded:
        """The final states of the target's rows that are asked for, beside the vectors of the sources.

        The states of the sources are not given. Without a target, what the encoder gives.
        """
        if inputs.target is None:
            return self.source(inputs, output_rows)
        stream = self.read(inputs)
        states: dict[str, Tensor] = {}
        if output_rows.wants("target"):
            states["target"] = self.target(inputs.target, stream, output_rows["target"])
        firsts = stream.layout.starts(stream.x.device)
        pooled = self.source.pooler(stream.x[firsts]) if output_rows.pooled else stream.x[:0]
        return Encoded(states, pooled)
