"""What a model will read, for a person to look at before anything is trained: ``mm-kptm data show``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from mm_kptm.batch import Inputs, Tokens
from mm_kptm.data.sampler import seeded
from mm_kptm.data.tokenizers.joining import running_text
from mm_kptm.data.tokenizers.protocol import Tokenizer
from mm_kptm.datasets.protocol import PreparedData, ReadsText
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import Built, build
from mm_kptm.experiment.coverage import (
    Coverage,
    NameCoverage,
    coverage_of,
    gives_facts,
    inputs_of,
    name_coverage,
)
from mm_kptm.experiment.settings import Experiment
from mm_kptm.nn.visibility import Branches
from mm_kptm.tasks.pretraining import ObjectiveSource, OneAStep
from mm_kptm.train.protocol import Source


@dataclass(frozen=True)
class ShownExample:
    """One example as it is read."""

    id: str
    target: str  #: the expected answer; empty where there is none
    text: str  #: the pieces, facts in braces behind the name that they hang from
    facts: tuple[str, ...]
    linked: tuple[str, ...] = ()  #: pieces that carry a vector of an entity, or may mean one
    regions: int = 0  #: of its image


@dataclass(frozen=True)
class Shown:
    """Some examples of a split, and how much knowledge reaches all of them."""

    split: str
    count: int  #: examples of the split
    examples: tuple[ShownExample, ...]
    coverage: Coverage | None = None
    names: NameCoverage | None = None


def show(settings: Experiment, *, split: str = "train", count: int = 5) -> Shown:
    """The first examples of a split as the experiment's model reads them, those of pretraining before any masking.

    Raises:
        UserError: as :func:`~mm_kptm.experiment.build.build`; there is no such split, or its examples are no texts.
    """
    if count < 1:
        raise UserError(f"{count} examples were to be shown; show one at least")
    built = build(settings)
    source = _texts_of(built.source(split))
    indices = list(range(min(count, len(source))))
    batch = source.batch(indices, seeded(0))
    examples = shown_examples(settings, built, batch)
    covered = coverage_of(source) if gives_facts(settings, built.prepared) else None
    return Shown(split, len(source), examples, covered, name_coverage(built.prepared) if covered is not None else None)


def _texts_of(source: Source[Any]) -> Source[Any]:
    """The texts that one source of objectives is prepared from, or the source itself."""
    if isinstance(source, OneAStep):
        source = source.source
    return source.inputs if isinstance(source, ObjectiveSource) else source


def shown_examples(settings: Experiment, built: Built, batch: Any) -> tuple[ShownExample, ...]:
    """The examples of a batch as the experiment's model reads them.

    Raises:
        UserError: its examples are no single texts, or its data have no tokenizer.
    """
    inputs = inputs_of(batch)
    if inputs is None or inputs.text is None:
        raise UserError(f"the examples of {settings.trained} on {settings.data.name} are no single texts to be shown")
    about: Sequence[Any] = getattr(batch, "about", ())
    rows = _rows(inputs, inputs.text, tokenizer_of_data(settings, built.prepared))
    return tuple(
        ShownExample(
            id=str(getattr(about[at], "id", at + 1)) if at < len(about) else str(at + 1),
            target=str(getattr(about[at], "target", "")) if at < len(about) else "",
            **row,
        )
        for at, row in enumerate(rows)
    )


def tokenizer_of_data(settings: Experiment, prepared: PreparedData) -> Tokenizer:
    """The tokenizer of an experiment's texts.

    Raises:
        UserError: its data have none.
    """
    if prepared.encoding is not None:
        return prepared.encoding.tokenizer
    if isinstance(settings.data, ReadsText):
        return settings.data.tokenizer()
    raise UserError(f"{settings.data.name} has no tokenizer whose pieces could be shown")


def lines_of(example: ShownExample) -> list[str]:
    """An example in a few lines of text."""
    named = {"answer": example.target, "regions": example.regions or "", "linked": ", ".join(example.linked)}
    return [f"{example.id}  {example.text}", *(f"    {name}: {value}" for name, value in named.items() if value)]


def _rows(inputs: Inputs, text: Tokens, tokenizer: Tokenizer) -> list[dict[str, Any]]:
    pieces = [tokenizer.vocabulary[number] for number in text.ids.tolist()]
    mask = text.attention_mask
    words, branches = [0] * len(pieces), [0] * len(pieces)
    if isinstance(mask, Branches):
        words, branches = mask.words.tolist(), mask.branches.tolist()
    linked = [False] * len(pieces) if inputs.entities is None else inputs.entities.linked.tolist()
    for candidates in (inputs.candidates or {}).values():
        named = (candidates.spans[:, 0] >= 0) & (candidates.entities > 0).any(dim=1)
        for first, last in candidates.spans[named].tolist():
            linked[first : last + 1] = [True] * (last + 1 - first)
    image_of = list(range(len(text.layout))) if inputs.image_of is None else inputs.image_of.tolist()
    rows: list[dict[str, Any]] = []
    for number, (first, length) in enumerate(zip(text.layout.offsets, text.layout.lengths, strict=False)):
        span = range(first, first + length)
        parts: list[str] = []
        facts: list[str] = []
        for (_, branch), places in groupby(span, key=lambda at: (words[at] if branches[at] else -1, branches[at])):
            run = running_text([pieces[at] for at in places])
            parts.append(f"{{{run}}}" if branch else run)
            facts += [run] if branch else []
        rows.append(
            {
                "text": " ".join(parts),
                "facts": tuple(facts),
                "linked": tuple(pieces[at] for at in span if linked[at]),
                "regions": 0 if inputs.regions is None else inputs.regions.layout.lengths[image_of[number]],
            }
        )
    return rows
