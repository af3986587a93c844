"""How much of the knowledge of an experiment reaches its texts, measured on the batches that a model reads.

Facts that no text carries change nothing, and a run with them measures a model without knowledge under another name.

Shapes: T token rows of a batch.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from mm_kptm.batch import Inputs, Tokens
from mm_kptm.data.sampler import seeded
from mm_kptm.datasets.protocol import PreparedData
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import Built
from mm_kptm.experiment.settings import Experiment
from mm_kptm.knowledge.kinds.protocol import BRANCHES, CANDIDATES, ENTITIES, REGION_ENTITIES
from mm_kptm.nn.visibility import Branches
from mm_kptm.train.protocol import Source

SPLITS = ("train", "dev", "test")  #: whose coverage is measured, where the data have them in files
SAMPLE = 512  #: examples of a split that are looked at, evenly spread; all of them where none of these has a fact
_AT_ONCE = 64
_SHOWN = 5  #: names that were never found, in the line that is printed


@dataclass(frozen=True)
class Coverage:
    """The facts that the texts of a split carry; linked mentions where facts come as vectors of entities."""

    texts: int  #: that were looked at
    with_facts: int  #: those that name something the model is given facts about
    facts: int
    tokens: int  #: all that are read, those of facts too
    fact_tokens: int

    def __add__(self, other: Coverage) -> Coverage:
        return Coverage(*(ours + theirs for ours, theirs in zip(_numbers(self), _numbers(other), strict=True)))

    @property
    def share(self) -> float:
        """Of the texts that carry a fact."""
        return self.with_facts / self.texts if self.texts else 0.0

    def sentence(self) -> str:
        """For a reader."""
        texts, tokens = max(self.texts, 1), max(self.tokens, 1)
        named = f"{self.with_facts} of {self.texts} texts ({self.share:.0%}) name something with facts"
        if self.facts and not self.fact_tokens:  # vectors at tokens of the text
            return f"{named}; {self.facts / texts:.2f} linked tokens or mentions a text"
        return (
            f"{named}; {self.facts / texts:.2f} facts and {self.fact_tokens / texts:.1f} tokens of facts a text "
            f"({self.fact_tokens / tokens:.0%} of its tokens)"
        )


@dataclass(frozen=True)
class NameCoverage:
    """Which names of a graph the texts mention."""

    names: int  #: entities with facts and a name
    found: int  #: of these, in any split that was read
    never_found: tuple[str, ...]  #: the first of the others, as they are called

    def sentence(self) -> str:
        """For a reader."""
        missing = f"; never: {', '.join(self.never_found[:_SHOWN])}" if self.never_found else ""
        return f"{self.found} of {self.names} names of the graph are found{missing}"


def gives_facts(settings: Experiment, prepared: PreparedData) -> bool:
    """Whether the examples of an experiment carry facts, so that there is a coverage."""
    way = settings.knowledge.way
    injected = (
        way is not None
        and settings.knowledge.given != "none"
        and way.form in (BRANCHES, ENTITIES, REGION_ENTITIES, CANDIDATES)
    )
    return injected or (prepared.encoding is not None and prepared.encoding.table is not None)


def coverage_of(source: Source[Any], *, sample: int = SAMPLE) -> Coverage | None:
    """The facts that the texts of a source carry; None where its batches have no text to carry any."""
    found = _measured(source, range(0, len(source), max(1, -(-len(source) // sample))))
    if found is not None and not found.with_facts and found.texts < len(source):
        return _measured(source, range(len(source)))
    return found


def measured_coverage(settings: Experiment, built: Built) -> dict[str, Coverage]:
    """The coverage of the splits that a run learns from and is measured on.

    Of data that a suite generates, ``test`` is left for the evaluation to make; it is worded as ``train`` is.

    Raises:
        UserError: facts were asked for, but no text of a split carries one.
    """
    if not gives_facts(settings, built.prepared):
        return {}
    found: dict[str, Coverage] = {}
    for split in SPLITS if built.prepared.encoding is not None else SPLITS[:2]:
        if split in built.prepared.sources and (one := coverage_of(built.source(split))) is not None:
            found[split] = one
            if not one.with_facts:
                raise UserError(_nothing(settings, built, split, one))
    return found


def name_coverage(prepared: PreparedData) -> NameCoverage | None:
    """Which names of the graph were found in the splits that were opened; None where facts come from no graph."""
    injector = None if prepared.encoding is None else prepared.encoding.injector
    if injector is None:
        return None
    missing = [entity for entity in injector.graph.heads if entity in injector.names.entities - injector.found]
    shown = injector.names.examples(missing[:20])
    return NameCoverage(len(injector.names.entities), len(injector.found), tuple(shown))


def as_record(covered: Mapping[str, Coverage], names: NameCoverage | None) -> dict[str, object]:
    """What a run folder keeps."""
    return {
        **{split: asdict(one) for split, one in covered.items()},
        **({} if names is None else {"names": asdict(names)}),
    }


def announce(label: str, covered: Mapping[str, Coverage], names: NameCoverage | None) -> None:
    """Print the coverage for a reader, before anything is trained."""
    for split, one in covered.items():
        print(f"{label}: coverage of {split}: {one.sentence()}", file=sys.stderr)
    if names is not None and covered:
        print(f"{label}: {names.sentence()}", file=sys.stderr)


def inputs_of(batch: Any) -> Inputs | None:
    """The streams of a batch; None where it has none of its own, as batches of sentence pairs have."""
    inputs = batch if isinstance(batch, Inputs) else getattr(batch, "inputs", None)
    return inputs if isinstance(inputs, Inputs) else None


def _measured(source: Source[Any], indices: range) -> Coverage | None:
    total: Coverage | None = None
    for batch in _batches(source, indices):
        inputs = inputs_of(batch)
        if inputs is None or inputs.text is None:
            return None
        one = _of(inputs, inputs.text)
        total = one if total is None else total + one
    return total


def _batches(source: Source[Any], indices: range) -> Iterator[Any]:
    generator = seeded(0)
    for first in range(0, len(indices), _AT_ONCE):
        yield source.batch(list(indices[first : first + _AT_ONCE]), generator)


def _of(inputs: Inputs, text: Tokens) -> Coverage:
    sequence_ids = text.layout.sequence_ids(text.ids.device)
    carriers = [torch.zeros(0, dtype=torch.long)]
    facts = fact_tokens = 0
    if isinstance(mask := text.attention_mask, Branches):
        on_fact = mask.branches > 0
        keys = torch.stack([sequence_ids[on_fact], mask.words[on_fact], mask.branches[on_fact]], dim=1)
        facts, fact_tokens = len(keys.unique(dim=0)), int(on_fact.sum())
        carriers.append(sequence_ids[on_fact])
    mentions = [*_linked(inputs, sequence_ids)]
    facts += sum(map(len, mentions))
    with_facts = len(torch.cat([*carriers, *mentions]).unique())
    return Coverage(len(text.layout), with_facts, facts, len(text.ids), fact_tokens)


def _linked(inputs: Inputs, sequence_ids: Tensor) -> Iterator[Tensor]:
    """The text of every linked mention or region."""
    if inputs.entities is not None:
        yield sequence_ids[inputs.entities.linked]
    if inputs.region_entities is not None:
        yield inputs.repeat_shared()[0].sequence_ids(sequence_ids.device)[inputs.region_entities.linked]
    for candidates in (inputs.candidates or {}).values():
        named = (candidates.spans[:, 0] >= 0) & (candidates.entities > 0).any(dim=1)
        yield candidates.layout.sequence_ids(sequence_ids.device)[named]


def _nothing(settings: Experiment, built: Built, split: str, found: Coverage) -> str:
    graph = getattr(settings.data, "graph", None) or getattr(settings.data, "descriptions", None)
    names = name_coverage(built.prepared)
    asked = f"knowledge.facts is {settings.knowledge.facts}, but none of the {found.texts} texts of {split}"
    if names is None:
        return f"{asked} carries a fact; give data whose texts mention known entities, or choose knowledge.kind none"
    encoding = built.prepared.encoding
    source = built.source(split)
    texts = [] if encoding is None else list(_spelled(source, encoding.tokenizer.vocabulary))
    if names.found and split == "train":
        return f"{asked} has room for a fact beside its names; raise data.max_length, or choose knowledge.kind none"
    return (
        f"{asked} has a fact at a name of {graph}: names are such as {', '.join(names.never_found[:3]) or 'none'}, "
        f"texts such as {texts[0] if texts else ''!r}; give a graph of what the texts are about (labels and aliases "
        "count as names, case counts where the tokenizer tells it), or choose knowledge.kind none"
    )


def _spelled(source: Source[Any], vocabulary: tuple[str, ...]) -> Iterator[str]:
    inputs = inputs_of(source.batch([0], seeded(0)))
    if inputs is not None and inputs.text is not None:
        yield " ".join(vocabulary[number] for number in inputs.text.ids.tolist())[:80]


def _numbers(coverage: Coverage) -> tuple[int, ...]:
    return coverage.texts, coverage.with_facts, coverage.facts, coverage.tokens, coverage.fact_tokens
