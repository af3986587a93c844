"""Attribution of an answer to regions and tokens: attention, gradient x attention, gradient x input.

Shapes: T token rows and R region rows of one question, D dim, H heads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from mm_kptm.batch import Inputs, row_numbers
from mm_kptm.errors import UserError
from mm_kptm.nn.assembly import Assembled
from mm_kptm.nn.embeddings import TextEmbedding
from mm_kptm.nn.ragged import AttentionRecord, recorded_attention
from mm_kptm.nn.steps import CrossStep, Pair, SelfStep
from mm_kptm.systems.system import System
from mm_kptm.tasks.example import ExampleBatch
from mm_kptm.tasks.protocol import Task
from mm_kptm.tasks.scores import ChoosesOne

E = TypeVar("E", bound=ExampleBatch)

ATTENTION, GRADIENT_ATTENTION, GRADIENT_INPUT = "attention", "gradient x attention", "gradient x input"
METHODS = (ATTENTION, GRADIENT_ATTENTION, GRADIENT_INPUT)


@dataclass(frozen=True, eq=False)
class Attribution:
    """How much each row has to do with the predicted answer, by method; none is negative."""

    answer: int  #: index of the answer among its alternatives
    tokens: Mapping[str, Tensor]  #: [T]
    regions: Mapping[str, Tensor]  #: [R]
    inputs: Inputs  #: as the encoder read them


def attribute(task: Task[E], batch: E) -> Attribution:
    r"""Attribute the answer of one example, chosen among answers, labels, choices or regions.

    - ``attention``: the weights of the text on every row, averaged over heads and words and summed over layers.
    - ``gradient x attention``: :math:`\sum [A \cdot \partial y / \partial A]_+` over all layers, heads and words, where
      y is the score of the answer (Chefer et al. 2021, eq. 5).
    - ``gradient x input``: :math:`|x \cdot \partial y / \partial x|` of word embeddings and region features
      (Shrikumar et al. 2017).

    Raises:
        UserError: the task chooses no one answer for a text, the batch holds more than one example, or the encoder has
            no word embeddings.
    """
    if not isinstance(task, ChoosesOne):
        raise UserError(f"{task.name} chooses no one answer for a text about an image, to be attributed to its parts")
    if len(batch) != 1:
        raise UserError(f"answers are attributed one by one, but the batch holds {len(batch)} examples")
    system: System = task.system
    words = next((part for part in system.encoder.modules() if isinstance(part, TextEmbedding)), None)
    if words is None:
        raise UserError(f"{system.recipe} has no word embeddings, to which an answer could be attributed")
    training = task.training
    task.eval()
    try:
        offered = task.alternatives(batch)
        with torch.enable_grad(), recorded_attention() as records, _Streams(system.encoder, records) as streams:
            inputs, leaves = _with_leaves(system.read_raw(offered.inputs), words)
            scores = offered.scores(inputs)
            answer = int(scores.argmax())
            wanted = [*leaves.values(), *(record.weights for record in records)]
            found = torch.autograd.grad(scores[answer], wanted, allow_unused=True)
    finally:
        task.train(training)
    gradients = [torch.zeros_like(leaf) if one is None else one for leaf, one in zip(wanted, found, strict=True)]
    by_input = {
        name: (leaf.detach() * gradient).sum(-1).abs()
        for (name, leaf), gradient in zip(leaves.items(), gradients, strict=False)
    }
    of_weights = gradients[len(leaves) :]
    plain = [record.weights.detach() for record in records]
    moved = [(weights * gradient).clamp(min=0) for weights, gradient in zip(plain, of_weights, strict=True)]
    by_stream: dict[str, dict[str, Tensor]] = {}
    for stream in ("text", "regions"):
        size = len(leaves[stream]) if stream in leaves else 0
        by_stream[stream] = {
            ATTENTION: streams.read(plain, stream, size),
            GRADIENT_ATTENTION: streams.read(moved, stream, size),
            GRADIENT_INPUT: by_input.get(stream, torch.zeros(0)),
        }
    return Attribution(answer, by_stream["text"], by_stream["regions"], inputs)


def _with_leaves(inputs: Inputs, words: TextEmbedding) -> tuple[Inputs, dict[str, Tensor]]:
    """The inputs with word vectors and region features as leaves of the graph."""
    leaves: dict[str, Tensor] = {}
    if inputs.text is not None:
        leaves["text"] = words.words(inputs.text).detach().requires_grad_()
        inputs = inputs.with_streams(text=replace(inputs.text, vectors=leaves["text"]))
    if inputs.regions is not None:
        regions = inputs.regions.widened(next(words.parameters()).dtype)
        leaves["regions"] = regions.features.detach().requires_grad_()
        inputs = inputs.with_streams(regions=replace(regions, features=leaves["regions"]))
    return inputs, leaves


class _Streams:
    """Where the streams stand in what an encoder attends to, and which stream each call of attention reads."""

    def __init__(self, encoder: nn.Module, records: list[AttentionRecord]) -> None:
        self.encoder = encoder
        self.records = records
        self.rows: dict[str, Tensor] = {}  #: rows of each stream in a joined sequence, or in its own stream
        self.totals: dict[str, int] = {}  #: rows of what each stream stands in
        self.read_by: dict[int, tuple[str, str]] = {}  #: reader and source of a call of two streams, by its number
        self.joined = False

    def __enter__(self) -> _Streams:
        parts = list(self.encoder.modules())
        self._handles = [part.register_forward_hook(self._see) for part in parts]
        for step in parts:
            if isinstance(step, CrossStep):
                self._watch(step, (("text", "regions"), ("regions", "text")))
            elif isinstance(step, SelfStep):
                for side, name in ((step.left, "text"), (step.right, "regions")):
                    if side is not None:
                        self._watch(side, ((name, name),))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _watch(self, module: nn.Module, reads: Sequence[tuple[str, str]]) -> None:
        """Note what the calls of attention within a module read, in their order."""
        first = 0

        def enter(*_: Any) -> None:
            nonlocal first
            first = len(self.records)

        def leave(*_: Any) -> None:
            if len(self.records) - first == len(reads):  # fewer where a side is not wanted: known by its length
                self.read_by |= dict(enumerate(reads, first))

        self._handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]

    def _see(self, module: nn.Module, _: Any, output: Any) -> None:
        """Read the places off what the embedder gives, the first such value of a pass."""
        if self.rows:
            return
        if isinstance(output, Assembled):
            total, self.joined = output.stream.layout.total, True
            for name, rows in output.parts.items():
                self.rows[name] = row_numbers(rows, total, output.stream.x.device)
                self.totals[name] = total
        elif isinstance(output, Pair):
            finders = {"text": "token_rows", "regions": "region_rows"}  # where a stream has rows beside its own
            for (name, finder), stream in zip(finders.items(), output, strict=True):
                layout, device = stream.aligned_layout, stream.x.device
                rows = getattr(module, finder)(layout, device) if hasattr(module, finder) else slice(None)
                self.rows[name] = row_numbers(rows, layout.total, device)
                self.totals[name] = layout.total

    def read(self, weights: Sequence[Tensor], stream: str, size: int) -> Tensor:
        """What the words read in the rows of a stream, averaged over words and heads: [T] or [R]."""
        found = torch.zeros(size)
        if stream not in self.rows or "text" not in self.rows:
            return found
        words = self.rows["text"]
        for number, (record, one) in enumerate(zip(self.records, weights, strict=True)):
            first = self._first_source(number, record, stream)
            if first is None:
                continue
            queries = record.attention_layout.query_rows
            rows = torch.arange(record.attention_layout.queries.total) if queries is None else queries
            mine = torch.isin(rows, words)
            if mine.any():
                found = found + one[0].mean(0)[mine][:, first + self.rows[stream]].mean(0)
        return found

    def _first_source(self, number: int, record: AttentionRecord, stream: str) -> int | None:
        """The place of the stream among the sources of a call whose queries are words; None where it is not there."""
        sources, queries = record.attention_layout.sources.total, record.attention_layout.queries.total
        if self.joined:
            return 0 if sources == self.totals[stream] else None
        if number in self.read_by:
            return 0 if self.read_by[number] == ("text", stream) else None
        if record.attention_layout.query_rows is None and queries != self.totals["text"]:
            return None
        if sources == sum(self.totals.values()):  # one softmax over both streams, words first
            return 0 if stream == "text" else self.totals["text"]
        return 0 if sources == self.totals[stream] else None
