"""Explanations of a run's answers: one page with pictures, and a score where it is known what decides an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mm_kptm.batch import Inputs
from mm_kptm.data.images.decoding import read_picture
from mm_kptm.data.sampler import seeded
from mm_kptm.data.tokenizers.joining import running_text
from mm_kptm.datasets.illustration import Illustration
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import Built
from mm_kptm.experiment.run import opened
from mm_kptm.experiment.settings import Experiment
from mm_kptm.experiment.show import tokenizer_of_data
from mm_kptm.nn.visibility import Branches
from mm_kptm.preprocessing.images import find_picture
from mm_kptm.report.explanation import Explained, Part, write_explanations
from mm_kptm.report.gallery import picture
from mm_kptm.tasks.example import ExampleBatch, Row
from mm_kptm.tasks.scores import ChoosesOne
from mm_kptm.tasks.vision.attribution import METHODS, Attribution, attribute
from mm_kptm.tasks.vision.grounding import Expressions

PAGE, SCORES = "explain.html", "explain.json"
BLANK = (240, 320)  #: height and width of the canvas where there is no picture


@dataclass(frozen=True)
class Pointing:
    """How often the highest share of a kind of part is that of the part that decides."""

    part: str  #: region or fact
    n: int  #: examples where it is known what decides, out of two parts or more
    chance: float  #: of a part taken blindly
    hits: Mapping[str, float]  #: share of examples, by method
    hits_when_right: Mapping[str, float]  #: the same among right answers; empty without any


def explain(
    run: Path, *, split: str = "test", count: int = 20, images: Path | None = None, out: Path | None = None
) -> tuple[Path, tuple[Pointing, ...]]:
    """Explain the first answers of a split on one self-contained page, and score the explanations.

    Args:
        run: folder of a run that chooses an answer, a label, a choice or a region for a text about an image.
        split: which examples.
        count: how many.
        images: folder of the pictures, where the data hold features alone.
        out: the page; ``explain.html`` in the run when None.

    Returns:
        The page, and how often what decides is pointed at: of regions and of facts, where the data tell what decides.

    Raises:
        UserError: the run does something else, or there is no such split.
    """
    if count < 1:
        raise UserError(f"{count} answers were to be explained; explain one at least")
    settings, built = opened(run)
    task, source = built.task, built.source(split)
    if not isinstance(task, ChoosesOne):
        raise UserError(
            f"{run} was trained on {settings.trained}, but what is explained is one answer, label, choice or region "
            "for a text about one image"
        )
    vocabulary = tokenizer_of_data(settings, built.prepared).vocabulary
    examples, known = [], []
    for index in range(min(count, len(source))):
        batch = source.batch([index], seeded(0, index))
        found = attribute(task, batch)
        (row,) = task.predict(batch)
        shown = _illustration(built, settings, batch, split, index, images)
        example = _explained(found, batch, row, shown, vocabulary)
        examples.append(example)
        known.append(example)
    scores = tuple(
        score
        for score in (
            _pointing("region", [one.regions for one in known], known),
            _pointing("fact", [one.facts for one in known], known),
        )
        if score is not None
    )
    target = run / PAGE if out is None else out
    about = [f"{len(examples)} of {len(source)} examples", f"split {split}", settings.encoder.recipe]
    write_explanations(
        target, f"{settings.name}: what answers rest on", about, examples, [_line(one) for one in scores]
    )
    return target, scores


def _illustration(
    built: Built, settings: Experiment, batch: ExampleBatch, split: str, index: int, images: Path | None
) -> Illustration:
    """The picture of an example: that of its data, of a folder, or a blank canvas."""
    if built.prepared.illustrate is not None:
        return built.prepared.illustrate(split, index)
    folder = images or getattr(settings.data, "images", None)
    if folder is None:
        return Illustration()
    name = batch.about[0].group.removeprefix("image-")
    return Illustration(pixels=read_picture(find_picture(Path(folder), name)))


def _explained(
    found: Attribution, batch: ExampleBatch, row: Row, shown: Illustration, vocabulary: Sequence[str]
) -> Explained:
    (about,) = batch.about
    text, regions = found.inputs.text, found.inputs.regions
    if text is None:
        raise TypeError("what is explained has text")
    pieces = [vocabulary[number] for number in text.ids.tolist()]
    tree = _tree(found.inputs, len(pieces))
    trunk = [at for at, (_, branch) in enumerate(tree) if not branch]
    labels = ["" if regions is None else f"region {number + 1}" for number in range(_rows(found.regions))]
    if shown.regions and len(shown.regions) == len(labels):
        labels = list(shown.regions)
    boxes = [] if regions is None else regions.boxes.clamp(0, 1).tolist()
    of_regions = _shares(found.regions, [[number] for number in range(len(labels))])
    of_tokens = _shares(found.tokens, [[at] for at in trunk])
    facts = _facts(tree, pieces)
    of_facts = _shares(found.tokens, [places for *_, places in facts])
    pixels = np.full((*BLANK, 3), 255, np.uint8) if shown.pixels is None else shown.pixels
    height, width = pixels.shape[:2]
    meant = batch.right.tolist() if isinstance(batch, Expressions) else [None] * len(labels)
    answer, target = (_pointed(value, labels, batch) for value in (str(row["answer"]), about.target))
    needed = None if shown.facts is None else {(one.subject, one.relation) for one in shown.facts if one.used}
    return Explained(
        id=about.id,
        image=picture(pixels),
        width=width,
        height=height,
        question=shown.question or running_text([pieces[at] for at in trunk if not _special(pieces[at])]),
        answer=shown.wording(answer),
        target=shown.wording(target),
        correct=float(row["correct"]) if "correct" in row else None,
        labels=tuple(label for label in (about.type, about.language) if label),
        regions=tuple(
            Part(
                label,
                shares,
                meant[number] if shown.region is None else number == shown.region,
                (box[0], box[1], box[2], box[3]),
            )
            for number, (label, shares, box) in enumerate(zip(labels, of_regions, boxes, strict=True))
        ),
        tokens=tuple(Part(pieces[at], shares) for at, shares in zip(trunk, of_tokens, strict=True)),
        facts=tuple(
            Part(f"{carrier}: {fact}", shares, None if not needed else (carrier, fact.split()[0]) in needed)
            for (carrier, fact, _), shares in zip(facts, of_facts, strict=True)
        ),
    )


def _pointed(value: str, labels: Sequence[str], batch: ExampleBatch) -> str:
    """The label of the region that a prediction of referring expressions says by its place."""
    return labels[int(value)] if isinstance(batch, Expressions) and value.isdecimal() else value


def _rows(found: Mapping[str, Tensor]) -> int:
    return max(map(len, found.values()), default=0)


def _special(piece: str) -> bool:
    return piece.startswith("[") and piece.endswith("]")


def _tree(inputs: Inputs, length: int) -> list[tuple[int, int]]:
    """Word and branch of every token; branch 0 is the question."""
    mask = None if inputs.text is None else inputs.text.attention_mask
    if not isinstance(mask, Branches):
        return [(at, 0) for at in range(length)]
    return list(zip(mask.words.tolist(), mask.branches.tolist(), strict=True))


def _facts(tree: Sequence[tuple[int, int]], pieces: Sequence[str]) -> list[tuple[str, str, list[int]]]:
    """Every injected fact: the word that carries it, its words, and its tokens."""
    carriers = {word: pieces[at] for at, (word, branch) in reversed(list(enumerate(tree))) if not branch}
    found = []
    for (word, branch), places in groupby(range(len(pieces)), key=lambda at: tree[at]):
        if branch:
            tokens = list(places)
            found.append((carriers.get(word, ""), running_text([pieces[at] for at in tokens]), tokens))
    return found


def _shares(found: Mapping[str, Tensor], groups: Sequence[Sequence[int]]) -> list[dict[str, float]]:
    """The share of every group of rows in all groups, by method; zero everywhere where nothing is measured."""
    shares: list[dict[str, float]] = [{} for _ in groups]
    for method in METHODS:
        values = found[method]
        sums = torch.tensor([float(values[list(group)].sum()) for group in groups])
        for place, share in zip(shares, (sums / sums.sum().clamp(min=1e-30)).tolist(), strict=True):
            place[method] = round(share, 6)
    return shares


def _pointing(part: str, kinds: Sequence[Sequence[Part]], examples: Sequence[Explained]) -> Pointing | None:
    """The score of one kind of part; None where no example tells what decides."""
    judged = [
        (parts, example)
        for parts, example in zip(kinds, examples, strict=True)
        if len(parts) > 1 and any(one.needed for one in parts)
    ]
    if not judged:
        return None
    hits = {
        method: [bool(max(parts, key=lambda one: one.shares[method]).needed) for parts, _ in judged]
        for method in METHODS
    }
    right = [example.correct is not None and example.correct >= 0.5 for _, example in judged]
    return Pointing(
        part,
        len(judged),
        float(np.mean([sum(bool(one.needed) for one in parts) / len(parts) for parts, _ in judged])),
        {method: float(np.mean(found)) for method, found in hits.items()},
        {method: float(np.mean(np.array(found)[right])) for method, found in hits.items()} if any(right) else {},
    )


def _line(score: Pointing) -> dict[str, str]:
    """A row of the table of scores."""
    cells = {method: f"{100 * hit:.0f} %" for method, hit in score.hits.items()}
    return {"what decides": score.part, "answers": str(score.n), "chance": f"{100 * score.chance:.0f} %", **cells}
