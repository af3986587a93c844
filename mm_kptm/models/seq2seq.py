"""Encoder-decoder models.

Shapes: B sources, T target rows, D dim.
"""

from collections.abc import Iterator

from torch import Tensor, nn

from mm_kptm.batch import ALL_ROWS, Encoded, Inputs, OutputRows
from mm_kptm.models.single import SingleStream
from mm_kptm.nn.decoder import Decoder
from mm_kptm.nn.steps import Stream


class Seq2Seq(nn.Module):
    """Encoder of any source, and a decoder that attends to all its rows while it generates the target.

    Without a target in the inputs only the encoder runs.

    Args:
        source: the encoder, of everything but the target.
        target: the decoder.
    """

    def __init__(self, source: SingleStream, target: Decoder) -> None:
        super().__init__()
        self.source = source
        self.target = target
        self.dim = source.dim

    def read(self, inputs: Inputs) -> Stream:
        """The final states of the source, which the decoder attends to."""
        *_, stream = self.source.hidden_states(inputs)
        return stream

    def hidden_states(self, inputs: Inputs) -> Iterator[Stream]:
        """The source at every depth, then the target at every depth."""
        for stream in self.source.hidden_states(inputs):
            yield stream
        if inputs.target is not None:
            yield from self.target.hidden_states(inputs.target, stream)

    def forward(self, inputs: Inputs, output_rows: OutputRows = ALL_ROWS) -> Encoded:
        """The final states of the wanted target rows, and the pooled vectors of the sources.

        The states of the sources are left out. Without a target, the output of the encoder.
        """
        if inputs.target is None:
            return self.source(inputs, output_rows)
        stream = self.read(inputs)
        states: dict[str, Tensor] = {}
        if output_rows.wants("target"):
            states["target"] = self.target(inputs.target, stream, output_rows["target"])
        starts = stream.layout.starts(stream.x.device)
        pooled = self.source.pooler(stream.x[starts]) if output_rows.pooled else stream.x[:0]
        return Encoded(states, pooled)
