"""Texts with mentions of entities, and a knowledge base that describes them in several languages (XLM-K)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Literal

from mm_kptm.batch import Inputs
from mm_kptm.crosslingual.objectives.entity_definition import DESCRIBED_MENTIONS, DESCRIBED_OBJECTS
from mm_kptm.data.formats.arrow_folders import each_cells
from mm_kptm.data.formats.mentions import span
from mm_kptm.data.packing import Packed
from mm_kptm.data.tokenizers.protocol import Tokenizer, framed
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.datasets.settings import SplitFiles, check_mask_rate, fingerprints
from mm_kptm.errors import UserError
from mm_kptm.io.records import read_lines
from mm_kptm.objectives.mixture import Mixture
from mm_kptm.objectives.spec import TEXTS, ObjectiveContext, Offers, build_objectives, find_objective
from mm_kptm.preprocessing.inputs import MARK, InputSource
from mm_kptm.preprocessing.pairs import TargetSource
from mm_kptm.tasks.pretraining import SourcesOfObjectives, heads_of
from mm_kptm.train.protocol import Source

#: Descriptions of an entity by language, in the order of the file.
Described = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, kw_only=True)
class EntityDescriptions(SplitFiles):
    """Lines of JSON, each a text with mentions of entities, and descriptions of the entities in several languages."""

    name: Literal["entity-descriptions"]
    descriptions: Path  #: an entity, a language and a description a line, between tabs
    triples: Path | None = None  #: head, relation and tail a line, between tabs; entities of `descriptions`
    mask_rate: float = 0.15  #: the share of tokens that is masked

    def __post_init__(self) -> None:
        super().__post_init__()
        check_mask_rate(self.mask_rate)


@dataclass(frozen=True)
class MentionInText:
    """A text with one mention of an entity that is described."""

    text: str
    start: int
    end: int
    entity: str
    language: str


def read_descriptions(path: Path) -> dict[str, dict[str, str]]:
    """Descriptions by entity and language.

    Raises:
        UserError: a line is no entity, language and description, or an entity has two in one language.
    """
    found: dict[str, dict[str, str]] = {}
    for cells, place in each_cells(path, ("entity", "language", "text")):
        cells = [cell.strip() for cell in cells]
        if len(cells) != 3 or not all(cells):
            raise UserError(
                f"{place} should be an entity, a language and a description, set apart by tabs; it is "
                f"{' '.join(cells)[:40]!r}"
            )
        entity, language, text = cells
        if found.setdefault(entity, {}).setdefault(language, text) != text:
            raise UserError(f"{place} describes {entity} in {language!r} a second time; once is enough")
    return found


def read_mentions(path: Path, described: Described) -> list[MentionInText]:
    """Every mention of a described entity, with its text: ``{"text", "mentions": [{"span", "entity"}], "language"}``.

    Raises:
        UserError: a key is missing or has another type, a span is outside its text, or no mention is described.
    """
    found = []
    for record in read_lines(path):
        text, language = record.get("text", str), record.text("language", "en")
        for mention in record.records("mentions"):
            where, entity = span(mention, "span", text), mention.name("entity")
            if entity in described:
                found.append(MentionInText(text, where.start, where.end, entity, language))
    if not found:
        raise UserError(f"no mention in {path} is of an entity that data.descriptions describes")
    return found


def described_mentions(
    mentions: Sequence[MentionInText], described: Described, tokenizer: Tokenizer, max_length: int
) -> TargetSource:
    """Texts labelled at the first token of a mention, and a description in another language where there is one.

    Mentions that begin behind ``max_length`` are left out.
    """
    columns: dict[str, list[list[int]]] = {"ids": [], f"{MARK}mention": []}
    chosen = []
    for number, one in enumerate(mentions):
        pieces = tokenizer.encode(one.text, one.language)
        ids, _ = framed(tokenizer.specials, pieces.ids[: max_length - 2])
        first = next(iter(pieces.covering(one.start, one.end)), max_length) + 1
        if first >= len(ids) - 1:
            continue
        columns["ids"].append(ids)
        columns[f"{MARK}mention"].append([int(place == first) for place in range(len(ids))])
        chosen.append(in_another_language(described[one.entity], one.language, number))
    positions = [range(len(ids)) for ids in columns["ids"]]
    return TargetSource(InputSource(Packed.of(positions=positions, **columns)), _texts(chosen, tokenizer, max_length))


def described_triples(path: Path, described: Described, tokenizer: Tokenizer, max_length: int) -> TargetSource:
    """A subject's description and the relation, and the object's description in another language if there is one.

    Raises:
        UserError: a line is no triple, or no triple joins two described entities.
    """
    subjects: list[tuple[str, str]] = []
    objects: list[str] = []
    for number, (cells, place) in enumerate(each_cells(path, ("head", "relation", "tail"))):
        if len(cells) != 3:
            raise UserError(f"{place} has {len(cells)} columns instead of 3; tabs part head, relation and tail")
        head, relation, tail = (cell.strip() for cell in cells)
        if head in described and tail in described:
            language, text = next(iter(described[head].items()))
            subjects.append((text, relation))
            objects.append(in_another_language(described[tail], language, number))
    if not objects:
        raise UserError(f"no triple in {path} joins two entities that data.descriptions describes")
    ids = [_framed_pair(tokenizer, text, relation, max_length) for text, relation in subjects]
    said = InputSource(Packed.of(ids=ids, positions=[range(len(text)) for text in ids]))
    return TargetSource(said, _texts(objects, tokenizer, max_length))


def in_another_language(texts: Mapping[str, str], language: str, number: int) -> str:
    """One of the descriptions in other languages, in turn by ``number``; the one in the language if there is no other.

    >>> in_another_language({"en": "a town", "de": "eine Stadt", "fr": "une ville"}, "en", 1)
    'une ville'
    """
    others = [text for spoken, text in texts.items() if spoken != language] or list(texts.values())
    return others[number % len(others)]


def _framed_pair(tokenizer: Tokenizer, text: str, relation: str, max_length: int) -> list[int]:
    words = tokenizer.encode(relation).ids
    room = max_length - tokenizer.specials.around(2) - len(words)
    return framed(tokenizer.specials, tokenizer.encode(text).ids[: max(room, 1)], words)[0][:max_length]


def _texts(texts: Sequence[str], tokenizer: Tokenizer, max_length: int) -> InputSource:
    ids = [framed(tokenizer.specials, tokenizer.encode(text).ids[: max_length - 2])[0] for text in texts]
    return InputSource(Packed.of(ids=ids, positions=[range(len(one)) for one in ids]))


def pretraining(data: EntityDescriptions, request: DataRequest) -> PreparedData:
    """Every objective reads the form it needs: mentions, triples, or the texts alone."""
    tokenizer, described = data.tokenizer(), read_descriptions(data.descriptions)
    offers = Offers(
        data.name,
        dict.fromkeys((TEXTS, DESCRIBED_MENTIONS, *(() if data.triples is None else (DESCRIBED_OBJECTS,)))),
        {DESCRIBED_OBJECTS: "name a file of triples as data.triples"},
    )
    context = ObjectiveContext(
        tokenizer.specials, len(tokenizer), offers, data.mask_rate, request.recipe, request.objective_arguments
    )
    objectives = build_objectives(request.objectives, context)

    @cache
    def mentions(split: str) -> Sequence[MentionInText]:
        return read_mentions(data.files[split], described)

    def inputs(split: str, name: str) -> Source[Inputs]:
        needs = find_objective(name).needs
        if DESCRIBED_MENTIONS in needs:
            return described_mentions(mentions(split), described, tokenizer, data.max_length)
        if data.triples is not None and DESCRIBED_OBJECTS in needs:
            return described_triples(data.triples, described, tokenizer, data.max_length)
        texts = dict.fromkeys(one.text for one in mentions(split))
        return _texts(list(texts), tokenizer, data.max_length)

    def source(split: str) -> SourcesOfObjectives:
        return SourcesOfObjectives({name: inputs(split, name) for name in objectives}, objectives)

    files = {"descriptions": data.descriptions, **({} if data.triples is None else {"triples": data.triples})}
    return PreparedData(
        sources={split: partial(source, split) for split in data.files},
        model=lambda system: Mixture(system, objectives, request.objectives),
        sizes={"vocab_size": len(tokenizer)},
        heads=heads_of(objectives),
        fingerprints={**data.fingerprints, **fingerprints(files)},
    )


PRETRAINING_SUPPLY = TaskDataset(None, EntityDescriptions, pretraining)
