"""Examples of an evaluation, recorded for the report: text, picture, injected facts, answer and attention.

Shapes: H heads, n tokens of a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import torch
from torch import Tensor

from mm_kptm.batch import Inputs, Tokens
from mm_kptm.data.tokenizers.joining import running_text
from mm_kptm.data.tokenizers.protocol import Tokenizer
from mm_kptm.datasets.illustration import Illustration
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import Built
from mm_kptm.experiment.settings import Experiment
from mm_kptm.experiment.show import tokenizer_of_data
from mm_kptm.models.trace import trace
from mm_kptm.nn.visibility import Branches
from mm_kptm.report.gallery import Box, Fact, GalleryExample, Token, picture, write_gallery
from mm_kptm.report.runs import EXAMPLES
from mm_kptm.tasks.example import Row, RowInputs

COUNT = 6  #: examples of a split that are recorded
CANVAS = (640, 480)  #: pixels of the drawing of regions whose picture is not known


def write_examples(
    run: Path, settings: Experiment, built: Built, split: str, rows: Sequence[Row], *, count: int = COUNT
) -> Path | None:
    """Record examples of a split into ``examples/<split>.json`` of a run folder; None without an answer.

    Half of them are answered wrong, half right, each the first of the split, as far as there are any.
    """
    chosen = _chosen(rows, count)
    if not chosen or built.task is None:
        return None
    source, task = built.source(split), built.task
    training = task.training
    task.eval()
    try:
        found = [_example(settings, built, split, rows[at], task.inputs_of_row(source, at, rows[at])) for at in chosen]
    finally:
        task.train(training)
    path = run / EXAMPLES / f"{split}.json"
    write_gallery(path, found)
    return path


def _chosen(rows: Sequence[Row], count: int) -> list[int]:
    """Numbers of the first wrong and the first right rows, in order."""
    right = [at for at, row in enumerate(rows) if float(row.get("correct", 1.0)) >= 0.5]
    wrong = [at for at, row in enumerate(rows) if float(row.get("correct", 1.0)) < 0.5]
    half = count // 2
    most_wrong = wrong[: max(half, count - len(right))]
    return sorted(most_wrong + right[: count - len(most_wrong)])


def _example(settings: Experiment, built: Built, split: str, row: Row, about: RowInputs) -> GalleryExample:
    known = Illustration()
    if built.prepared.illustrate is not None and about.index is not None:
        known = built.prepared.illustrate(split, about.index)
    tokens, facts, boxes, texts = _read(settings, built, about)
    pixels = known.pixels
    width, height = (pixels.shape[1], pixels.shape[0]) if pixels is not None else CANVAS if boxes else (0, 0)
    names = known.regions if len(known.regions) == len(boxes) else tuple(f"region {n + 1}" for n in range(len(boxes)))
    return GalleryExample(
        id=str(row["id"]),
        question=known.question or about.question or "\n".join(texts),
        answer=known.wording(str(row["answer"])),
        target=known.wording(str(row["target"])) if "target" in row else "",
        correct=float(row["correct"]) if "correct" in row else None,
        image="" if pixels is None else picture(pixels),
        width=width,
        height=height,
        language=str(row.get("language", "")),
        type=str(row.get("type", "")),
        boxes=tuple(Box(corners, name, share) for (corners, share), name in zip(boxes, names, strict=True)),
        facts=facts if known.facts is None else known.facts,
        tokens=tokens,
    )


Corners = tuple[float, float, float, float]


def _read(
    settings: Experiment, built: Built, about: RowInputs
) -> tuple[tuple[Token, ...], tuple[Fact, ...], list[tuple[Corners, float | None]], list[str]]:
    """Tokens with attention, facts, boxes with attention, and each text; attention and tokens of a single text."""
    try:
        tokenizer = tokenizer_of_data(settings, built.prepared)
    except UserError:  # its pieces cannot be named
        return (), (), [], []
    lines = [line for inputs in about.texts if inputs.text is not None for line in _lines(inputs.text, tokenizer)]
    if len(about.texts) != 1:
        return (), (), [], lines
    inputs, text = about.texts[0], about.texts[0].text
    if text is None or len(text.layout) != 1:
        return (), (), _boxes(inputs, None), lines
    to_tokens, to_regions = _attention(built, inputs) if about.complete else (None, None)
    pieces = [tokenizer.vocabulary[number] for number in text.ids.tolist()]
    tokens = tuple(
        Token(piece, None if to_tokens is None else round(to_tokens[at], 4)) for at, piece in enumerate(pieces)
    )
    return tokens, _facts(inputs, text, pieces), _boxes(inputs, to_regions), lines


def _boxes(inputs: Inputs, to_regions: Sequence[float] | None) -> list[tuple[Corners, float | None]]:
    """Boxes of one image with their attention; none of several images."""
    if inputs.regions is None or len(inputs.regions.layout) != 1:
        return []
    boxes: list[tuple[Corners, float | None]] = []
    for at, (x1, y1, x2, y2) in enumerate(inputs.regions.boxes.clamp(0, 1).tolist()):
        corners = (min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))
        boxes.append((corners, None if to_regions is None else round(to_regions[at], 4)))
    return boxes


def _attention(built: Built, inputs: Inputs) -> tuple[list[float] | None, list[float] | None]:
    """Attention of the first token in the last layer, mean over heads, to the tokens and to the regions."""
    device = next((parameter.device for parameter in built.system.parameters()), torch.device("cpu"))
    try:
        traced = trace(built.system, inputs.to(device))
    except UserError:  # an encoder that does not show its states
        return None, None
    tokens = 0 if inputs.text is None else inputs.text.rows
    regions = 0 if inputs.regions is None else inputs.regions.layout.total
    own = _first_row(traced.attentions)
    across = _first_row(traced.streams["text"].cross_attentions) if "text" in traced.streams else None
    to_regions: Tensor | None
    if own is not None and "regions" in traced.parts:  # one joined sequence
        to_regions = own[traced.parts["regions"][0]]
        own = own[traced.parts["text"][0]]
    elif own is not None and across is None and regions and len(own) >= tokens + regions:  # one softmax over both
        own, to_regions = own[:tokens], own[-regions:]  # a region of the whole image may stand before the others
    else:
        to_regions = None if across is None else across[-regions:]
    return _shares(own, tokens), _shares(to_regions, regions)


def _first_row(attentions: Sequence[Tensor]) -> Tensor | None:
    """Weights of the first row of the first sequence in the last layer, mean over heads, [n]."""
    return attentions[-1][0, :, 0].mean(0).float().cpu() if attentions else None


def _shares(weights: Tensor | None, count: int) -> list[float] | None:
    if weights is None or len(weights) != count or not count:
        return None
    shares: list[float] = weights.clamp(0, 1).tolist()
    return shares


def _lines(text: Tokens, tokenizer: Tokenizer) -> list[str]:
    """Every text without facts and special tokens."""
    framing = {tokenizer.specials.pad, tokenizer.specials.start, tokenizer.specials.stop}
    on_trunk = [True] * text.rows
    if isinstance(text.attention_mask, Branches):
        on_trunk = (text.attention_mask.branches == 0).tolist()
    ids = text.ids.tolist()
    lines = []
    for first, length in zip(text.layout.offsets, text.layout.lengths, strict=False):
        kept = [at for at in range(first, first + length) if on_trunk[at] and ids[at] not in framing]
        lines.append(running_text([tokenizer.vocabulary[ids[at]] for at in kept]))
    return lines


def _facts(inputs: Inputs, text: Tokens, pieces: Sequence[str]) -> tuple[Fact, ...]:
    """Facts that hang from words of the text, and linked words."""
    found: list[Fact] = []
    if isinstance(mask := text.attention_mask, Branches):
        words, branches = mask.words.tolist(), mask.branches.tolist()
        for (word, branch), places in groupby(range(text.rows), key=lambda at: (words[at], branches[at])):
            if branch:
                anchor = [piece for at, piece in enumerate(pieces) if words[at] == word and not branches[at]]
                found.append(Fact(running_text(anchor), "", running_text([pieces[at] for at in places])))
    if inputs.entities is not None:
        linked = [pieces[at] for at in inputs.entities.linked.nonzero().flatten().tolist()]
        found += [Fact(piece, "is linked to", "an entity vector") for piece in linked]
    return tuple(found)
