"""Hidden states of every layer and attention weights of a system, padded, for analysis.

Shapes: B sequences, N and M padded lengths of two streams, D dim of a stream, H heads.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mm_kptm.batch import Inputs, pad, row_numbers
from mm_kptm.errors import UserError
from mm_kptm.models.seq2seq import Seq2Seq
from mm_kptm.models.two_stream import TwoStream
from mm_kptm.nn.assembly import Assembled
from mm_kptm.nn.ragged import AttentionLayout, observed_attention, padded_weights
from mm_kptm.nn.steps import Pair, Stream
from mm_kptm.systems.encoder import HiddenState
from mm_kptm.systems.system import System


@dataclass(frozen=True, eq=False)
class StreamTrace:
    """One stream of a system through its layers; padding is zero.

    Where several texts share an image, its regions stand once before the first cross-attention and once a text after.
    """

    hidden_states: tuple[Tensor, ...]  #: as embedded, then after each layer (or step of two streams), each [B, N, D]
    attentions: tuple[Tensor, ...]  #: self-attention weights of each layer, each [B, H, N, N]
    cross_attentions: tuple[Tensor, ...]  #: weights over the rows of the other stream, each [B, H, N, M]
    attention_mask: Tensor  #: true at a row, false at padding, [B, N]


@dataclass(frozen=True, eq=False)
class Trace:
    """Hidden states and attentions of one pass.

    ``hidden_states``, ``attentions`` and ``attention_mask`` are those of the first stream. Attention weights are those
    before dropout; they sum to one over the last axis and are zero at padding.
    """

    streams: Mapping[str, StreamTrace]
    """By name: ``text``, and the second stream of a two-stream encoder or the ``target`` of an encoder-decoder."""
    parts: Mapping[str, Tensor]  #: which positions of a joined sequence hold which input stream, each [B, N]
    by_module: Mapping[str, tuple[Tensor, ...]]  #: weights of every call of attention, by its module in the encoder

    @property
    def hidden_states(self) -> tuple[Tensor, ...]:
        """States of the first stream: as embedded, then after each layer, each [B, N, D]."""
        return self._first.hidden_states

    @property
    def attentions(self) -> tuple[Tensor, ...]:
        """Self-attention weights of the first stream in each layer, each [B, H, N, N]."""
        return self._first.attentions

    @property
    def attention_mask(self) -> Tensor:
        """True at the rows of the first stream, false at padding, [B, N]."""
        return self._first.attention_mask

    @property
    def _first(self) -> StreamTrace:
        return next(iter(self.streams.values()))


@torch.no_grad()
def trace(system: System, inputs: Inputs) -> Trace:
    """Run a system once and keep the hidden states of every layer and all attention weights.

    The mode of the system stays as it is: call ``system.eval()`` first for states without dropout. Of a two-stream
    encoder, the states of a stream are kept after each step that changes it. Where one softmax covers both streams
    (VOLTA's UNITER and VisualBERT), the last axis of ``attentions`` has the rows of the text, then those of the
    regions. Attention of parts that are no layers of a stream (KnowBERT's knowledge attention, adapters, ERNIE's
    entities) is in ``by_module`` alone.

    Raises:
        UserError: it is no system, the encoder does not show its states, or the inputs do not fit it.
    """
    if not isinstance(system, System):
        raise UserError(
            f"a system of mm_kptm.build or mm_kptm.load can be traced, not a value of type {type(system).__name__}"
        )
    recorder = _Recorder(system.encoder)
    kept: dict[str, _Kept] = {}
    with recorder.watching():
        for depth, state in enumerate(system.hidden_states(inputs)):
            streams = _streams(system, inputs, state, depth)
            for record in recorder.new():
                _keep_attention(kept, record, system.encoder)
            for name, stream in streams.items():
                of_stream = kept.setdefault(name, _Kept())
                if stream.layout.total and (not of_stream.streams or stream.x is not of_stream.streams[-1].x):
                    of_stream.streams.append(stream)
    return Trace(
        {name: one.traced() for name, one in kept.items() if one.streams},
        recorder.parts,
        {name: tuple(weights) for name, weights in recorder.by_module.items()},
    )


class _Record(NamedTuple):
    """One call of attention: module, weights, layout, and its place among the calls since the last yielded state."""

    name: str
    weights: Tensor
    attention_layout: AttentionLayout
    place: int
    repeated: bool  #: whether the module was called before, beyond the places where it stands


class _Kept:
    """What is kept of one stream during the pass."""

    def __init__(self) -> None:
        self.streams: list[Stream] = []
        self.attentions: list[Tensor] = []
        self.cross_attentions: list[Tensor] = []

    def attends_by(self, attention_layout: AttentionLayout) -> bool:
        """Whether a layout is that of the stream's attention to itself."""
        return any(attention_layout is stream.attention for stream in self.streams)

    def add(self, record: _Record, *, cross: bool) -> None:
        """Add the weights of a layer."""
        (self.cross_attentions if cross else self.attentions).append(record.weights)

    def traced(self) -> StreamTrace:
        layout = self.streams[-1].layout
        real = torch.ones(layout.total, dtype=torch.bool, device=self.streams[-1].x.device)
        states = tuple(pad(stream.x, stream.layout) for stream in self.streams)
        return StreamTrace(states, tuple(self.attentions), tuple(self.cross_attentions), pad(real, layout, value=False))


class _Recorder:
    """Attention calls of an encoder with the module that made each, and the parts of its joined sequence.

    A module that stands at several places (LXMERT's cross-attention) is named by these places in the order of its
    calls.
    """

    def __init__(self, encoder: nn.Module) -> None:
        self.parts: dict[str, Tensor] = {}
        self.by_module: dict[str, list[Tensor]] = defaultdict(list)
        self._encoder = encoder
        self._names: dict[nn.Module, list[str]] = defaultdict(list)
        for name, module in encoder.named_modules(remove_duplicate=False):
            self._names[module].append(name)
        self._calls: dict[nn.Module, int] = defaultdict(int)
        self._running: list[nn.Module] = []
        self._new: list[_Record] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Context manager in which calls are recorded."""
        with ExitStack() as hooks:
            for module in self._names:
                hooks.callback(module.register_forward_pre_hook(self._begin).remove)
                hooks.callback(module.register_forward_hook(self._end, always_call=True).remove)
            hooks.enter_context(observed_attention(self._observe))
            yield

    def new(self) -> list[_Record]:
        """The calls since the last time."""
        found, self._new = self._new, []
        return found

    def _begin(self, module: nn.Module, _args: Any) -> None:
        self._running.append(module)

    def _end(self, module: nn.Module, _args: Any, output: Any) -> None:
        self._running.pop()
        if isinstance(output, Assembled) and not self.parts:
            self.parts = _parts(output)

    def _observe(self, query: Tensor, key: Tensor, attention_layout: AttentionLayout, bias: Tensor | None) -> None:
        module = self._running[-1] if self._running else self._encoder
        names, call = self._names[module], self._calls[module]
        self._calls[module] += 1
        name = names[min(call, len(names) - 1)]
        q = pad(query, attention_layout.queries).transpose(1, 2)
        weights = padded_weights(q, pad(key, attention_layout.sources).transpose(1, 2), attention_layout, bias)
        self.by_module[name].append(weights)
        self._new.append(_Record(name, weights, attention_layout, len(self._new), repeated=call >= len(names)))


def _streams(system: System, inputs: Inputs, state: HiddenState, depth: int) -> dict[str, Stream]:
    """The streams of a state by name; ``depth`` counts from the embeddings."""
    encoder = system.encoder
    if isinstance(state, Pair):
        names = encoder.streams if isinstance(encoder, TwoStream) else ("text", "regions")
        return dict(zip(names, state, strict=True))
    if not isinstance(state, Stream):  # rows alone, as of an encoder without attention
        if inputs.text is None or len(state.x) != inputs.text.rows:
            raise UserError(f"the states of {system.recipe} are no rows of the text, so they cannot be traced")
        return {"text": Stream.of(state.x, inputs.text.layout)}
    return {"target" if isinstance(encoder, Seq2Seq) and depth > len(encoder.source.layers) else "text": state}


def _keep_attention(kept: dict[str, _Kept], record: _Record, encoder: nn.Module) -> None:
    """Add the weights of a layer to its stream; those of other parts are in ``by_module`` alone."""
    root, *path = record.name.split(".")
    if isinstance(encoder, TwoStream):
        if root != "steps":
            return
        # a step computes its left side first; one that attends in place of its layers (VOLTA's) does so for both sides
        right = "right" in path or (len(path) == 1 and record.place % 2 == 1)
        stream, other = (kept[encoder.streams[side]] for side in (right, not right))
        across = bool(other.streams) and record.attention_layout.sources == other.streams[-1].aligned_layout
        stream.add(record, cross=across and not stream.attends_by(record.attention_layout))
    elif isinstance(encoder, Seq2Seq):
        if root == "target":
            target = kept["target"]
            target.add(record, cross=not target.attends_by(record.attention_layout))
        elif not record.repeated:  # MASS reads its source a second time, for the decoder
            kept["text"].add(record, cross=False)
    elif root == "layers" or not hasattr(encoder, "layers"):
        kept.setdefault("text", _Kept()).add(record, cross=False)


def _parts(assembled: Assembled) -> dict[str, Tensor]:
    """Which padded positions of a joined sequence hold each input stream."""
    layout, device = assembled.stream.layout, assembled.stream.x.device
    found = {}
    for name, rows in assembled.parts.items():
        inside = torch.zeros(layout.total, dtype=torch.bool, device=device)
        inside[row_numbers(rows, layout.total, device)] = True
        found[name] = pad(inside, layout, value=False)
    return found
