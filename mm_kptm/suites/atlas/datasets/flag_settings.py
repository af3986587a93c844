"""Settings of questions about flags as the dataset of an experiment."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Literal

from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.data.tokenizers.word_level import WordLevel
from mm_kptm.errors import UserError
from mm_kptm.random_streams import RandomStream
from mm_kptm.suites.atlas.data.atlas import ATLAS_VERSION, EMBEDDED, Atlas, open_atlas
from mm_kptm.suites.atlas.data.held_out import fraction
from mm_kptm.suites.atlas.datasets.flag_wording import QUESTIONS, RELATION_WORDS, RELATIONS
from mm_kptm.suites.atlas.datasets.hops import HOP_QUESTIONS, SCRIPT, SCRIPT_WORDS, TWO_STEPS, real_steps

FOLDS = 5  #: of the splits ``fact`` and ``hop``


@dataclass(frozen=True)
class AtlasFlagsData:
    """Questions about the countries of flags, in twelve languages, with real facts or with tables drawn anew."""

    name: Literal["atlas-flags"] = "atlas-flags"
    folder: Path | None = None  #: a larger tier, from `mm-kptm data fetch atlas`; the embedded one when null
    split: Literal["iid", "fact", "joint", "hop"] = "iid"
    """fact: facts out of training; joint: facts in other languages; hop: two steps where training asks for the first"""
    fold: int = 0  #: which fifth of the facts the split fact holds out, and of the countries the split hop
    relations: tuple[str, ...] = ("currency",)  #: that are asked about
    territories: int = 40  #: the most populous members of the United Nations whose flag is their own
    languages: tuple[str, ...] = ("en", "de", "fr")  #: of questions
    facts_languages: tuple[str, ...] | None = None  #: of names and facts; those of questions when null
    graph: Literal["worlds", "true"] = "worlds"  #: a table drawn anew for every world, or the real one
    worlds: int = 400  #: in training; those of dev and test are others
    distractors: int = 2  #: other countries that are named and carry facts
    questions: int = 20000  #: of training
    eval_questions: int = 1000  #: of dev and of test
    num_name_questions: int = 0  #: questions for the country itself, mixed into training
    variants: int = 8  #: drawings of each flag in training, moved and tinted
    vision: Literal["true", "shuffled", "blank"] = "true"  #: true, exchanged or white flags
    style: Literal["flags", "round-flags"] = "flags"  #: of the tests
    seed: int = 0  #: of all that is drawn

    def __post_init__(self) -> None:
        known = QUESTIONS.keys() & set(self.atlas.languages)
        for key, languages in (("languages", self.languages), ("facts_languages", self.fact_languages)):
            for language in languages:
                if language not in known:
                    raise UserError(
                        f"data.{key} has {language!r}, but questions are asked in {', '.join(sorted(known))}"
                    )
        for relation in self.relations:
            if relation not in RELATIONS and relation not in TWO_STEPS:
                every = ", ".join((*RELATIONS, *TWO_STEPS))
                raise UserError(f"data.relations has {relation!r}, but questions are about {every}")
        if not self.languages or not self.fact_languages or not self.relations:
            raise UserError("data.languages, data.facts_languages and data.relations must each name at least one")
        for name, least in (
            ("questions", 1), ("eval_questions", 1), ("worlds", 1), ("variants", 1), ("distractors", 0),
            ("num_name_questions", 0),
        ):  # fmt: skip
            if getattr(self, name) < least:
                raise UserError(f"data.{name} is {getattr(self, name)} but must be at least {least}")
        if not 0 <= self.fold < FOLDS:
            raise UserError(f"data.fold is {self.fold}, but there are folds 0 to {FOLDS - 1}")
        if self.split == "fact" and self.graph == "worlds":
            raise UserError("the split fact holds out facts of the real table; let data.graph be true")
        if self.split == "hop" and (single := [one for one in self.relations if one not in TWO_STEPS]):
            raise UserError(
                f"the split hop asks for facts of two steps, but data.relations has {single[0]!r}; take some of "
                f"{', '.join(TWO_STEPS)}"
            )
        if self.split == "joint" and len({*self.languages, *self.fact_languages}) < 2:
            raise UserError("the split joint tells facts in another language than the question; name two languages")
        if len(self.countries) <= self.distractors:
            raise UserError(
                f"data.territories leaves {len(self.countries)} countries with one answer to every relation, too few "
                f"for {self.distractors} distractors"
            )

    @property
    def atlas(self) -> Atlas:
        """The tier."""
        return open_atlas(EMBEDDED if self.folder is None else self.folder)

    @property
    def fact_languages(self) -> tuple[str, ...]:
        """Languages of names and facts."""
        return self.languages if self.facts_languages is None else self.facts_languages

    @cached_property
    def countries(self) -> tuple[str, ...]:
        """Codes of the countries that are asked about, the most populous first."""
        return countries(self.atlas, self.relations)[: self.territories]

    @property
    def steps(self) -> tuple[str, ...]:
        """Relations with a table of countries: those that are asked about, and the first of two steps."""
        first = [TWO_STEPS[one].first for one in self.relations if one in TWO_STEPS]
        return tuple(dict.fromkeys((*self.relations, *first)))

    @cached_property
    def objects(self) -> dict[str, tuple[str, ...]]:
        """Answers to each relation and the ends of each first step: what some country of the data has."""
        real = true_tables(self.atlas, self.relations)
        found = {one: {real[one][code] for code in self.countries} for one in self.relations}
        for one in self.relations:
            if one in TWO_STEPS:
                between = real_steps(self.atlas, one)[0]
                found.setdefault(TWO_STEPS[one].first, set()).update(between[code] for code in self.countries)
        return {one: tuple(sorted(objects)) for one, objects in found.items()}

    @property
    def answers(self) -> tuple[str, ...]:
        """All answers: objects of the relations, ends of first steps and countries where these are asked for."""
        asked = self.steps if self.split == "hop" else self.relations
        objects = [entity for relation in asked for entity in self.objects[relation]]
        names = [f"territory:{code}" for code in self.countries] if self.num_name_questions else []
        return tuple(dict.fromkeys((*objects, *names)))

    @property
    def bridges(self) -> tuple[str, ...]:
        """What facts that answer hang from: the countries, and the ends of first steps."""
        ends = [
            one
            for relation in self.relations
            if relation in TWO_STEPS
            for one in self.objects[TWO_STEPS[relation].first]
        ]
        return tuple(dict.fromkeys((*(f"territory:{code}" for code in self.countries), *ends)))

    def holds_out(self, country: str, relation: str) -> bool:
        """Whether the split ``fact`` or ``hop`` tests a fact and never trains it; first steps are always trained."""
        if self.split == "hop":
            return relation in TWO_STEPS and country in self.unchained[relation]
        return self.split == "fact" and int(fraction("fact", relation, country) * FOLDS) == self.fold

    @cached_property
    def unchained(self) -> dict[str, frozenset[str]]:
        """Countries that the fold of the split ``hop`` holds out of each relation of two steps.

        Folds are of one size, or differ by one country: every fifth in the order of a digest.
        """
        held = {}
        for relation in self.relations:
            if relation in TWO_STEPS:
                order = sorted(self.countries, key=partial(fraction, "fact", relation))
                held[relation] = frozenset(order[self.fold :: FOLDS])
        return held

    def draw(self, *path: int | str) -> RandomStream:
        """Random stream for one part of the data."""
        return RandomStream(self.seed, *path)

    def tokenizer(self) -> WordLevel:
        """Words of questions; names of countries and of answers are one word each."""
        return _tokenizer(self)

    @property
    def fingerprints(self) -> dict[str, str]:
        """Fingerprints of the data and of the settings that affect them."""
        return {
            "atlas": f"{ATLAS_VERSION}-{self.atlas.digest[:16]}",
            "settings": hashlib.sha256(repr(self).encode()).hexdigest(),
        }


@cache
def true_tables(atlas: Atlas, relations: tuple[str, ...]) -> dict[str, dict[str, str]]:
    """The object of each relation by country, where there is one right answer; the first neighbour of borders."""
    tables = {}
    for relation in relations:
        if relation in TWO_STEPS:
            between, ends = real_steps(atlas, relation)
            tables[relation] = {code: ends[middle] for code, middle in between.items()}
            continue
        tails = atlas.tails(relation)
        single = relation != "borders"
        tables[relation] = {
            head.partition(":")[2]: objects[0]
            for head, objects in tails.items()
            if head.startswith("territory:") and (len(objects) == 1 or not single)
        }
    return tables


@cache
def countries(atlas: Atlas, relations: tuple[str, ...]) -> tuple[str, ...]:
    """Members of the United Nations with a flag of their own and an answer to every relation, the most populous first.

    Of countries whose flags are the same picture the most populous one stays.
    """
    members = {head.partition(":")[2] for head, tails in atlas.tails("member_of").items() if "union:UN" in tails}
    doubles = {code for same in atlas.same_flags for code in same[1:]}
    tables = true_tables(atlas, relations)
    labelled = {
        entity.partition(":")[2] for entity, of in atlas.labels.items() if entity.startswith("territory:") and of
    }
    able = members - doubles & members
    able &= labelled & set(atlas.drawn["flags"]) & set(atlas.drawn["round-flags"])
    able = {code for code in able if all(code in table for table in tables.values())}
    return tuple(sorted(able, key=lambda code: (-atlas.population.get(code, 0), code)))


def words(text: str, language: str) -> tuple[str, ...]:
    """The words of a question."""
    return tuple(text.lower().split())


def entity_word(atlas: Atlas, entity: str, language: str) -> str:
    """The name of an entity as one word of a language; English where it has none there.

    Words of two languages are two words even where they are spelt the same, so that nothing is read across languages
    without being learnt; so are those of two kinds of entity, since the name of Singapore is that of its capital.
    """
    label = atlas.labels[entity].get(language) or atlas.labels[entity].get("en", entity)
    return f"{language}:{entity.partition(':')[0]}:{label.replace(' ', '_').lower()}"


@cache
def _tokenizer(data: AtlasFlagsData) -> WordLevel:
    found = dict.fromkeys(BERT_SPECIALS)
    for language in data.languages:
        for text in QUESTIONS[language].values():
            found |= dict.fromkeys(words(text, language))
        for relation in data.relations:
            if relation in TWO_STEPS:
                found |= dict.fromkeys(words(HOP_QUESTIONS[language][relation], language))
    found["|"] = None
    steps = [one for relation in data.relations for one in TWO_STEPS.get(relation, (relation,))]
    for language in dict.fromkeys((*data.fact_languages, *data.languages)):
        for relation in steps:
            found[relation_word(relation, language)] = None
        for relation in data.steps:
            found |= dict.fromkeys(entity_word(data.atlas, entity, language) for entity in data.objects[relation])
        found |= dict.fromkeys(entity_word(data.atlas, f"territory:{code}", language) for code in data.countries)
    return WordLevel(tuple(found), words)


def relation_word(relation: str, language: str) -> str:
    """The word of a relation in front of the object of a fact."""
    return f"{language}:{relation_label(relation, language).replace(' ', '_').lower()}"


def relation_label(relation: str, language: str) -> str:
    """The word of a relation as it is written."""
    return SCRIPT_WORDS[language] if relation == SCRIPT else RELATION_WORDS[language][relation]


def question_text(relation: str, language: str) -> str:
    """The question for a relation."""
    return (HOP_QUESTIONS if relation in TWO_STEPS else QUESTIONS)[language][relation]
