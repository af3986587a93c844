"""Number World as data of an experiment: its settings, and the tasks it feeds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Literal

from mm_kptm.crosslingual.bitext import every_pair, monolingual, translations
from mm_kptm.data.packed import Packed
from mm_kptm.errors import UserError
from mm_kptm.objectives.mixture import Mixture, Objective, Objectives
from mm_kptm.tasks import number_world
from mm_kptm.tasks.inputs import TextsOfPictures
from mm_kptm.tasks.knowledge_use import TOLD
from mm_kptm.tasks.knowledge_vqa import KnowledgeVQA
from mm_kptm.tasks.number_world_entities import BASE, WIDTH, linked, untold
from mm_kptm.tasks.number_world_facts import KEPT, learnt, stated
from mm_kptm.tasks.pretraining import PuzzleSource, heads_of, objectives_named
from mm_kptm.tasks.sentences import ParallelSentences, TranslationSource
from mm_kptm.tasks.supply import Learnt, Prepared, Request, Supply
from mm_kptm.tasks.vqa import VQA, QuestionSource, one_answer
from mm_kptm.world import WORLD_VERSION, baselines, knowledge, questions
from mm_kptm.world import captions as world_captions
from mm_kptm.world.draw import Draw
from mm_kptm.world.facts import Worlds, draw_fixed, draw_worlds
from mm_kptm.world.language import vocabulary
from mm_kptm.world.lexicon import answers
from mm_kptm.world.numerals import LANGUAGES
from mm_kptm.world.parallel import TOPICS, Parallel, corpus
from mm_kptm.world.questions import Question
from mm_kptm.world.scene import FEATURES, SIZES, Scenes
from mm_kptm.world.splits import SIDES_OF_A_SPLIT, Part, part

#: As branches of names, as a vector at each name, as the candidate that each name means, or beside the questions.
TELLS = frozenset({"tree", "fusion", "recontextualise", *KEPT})

Asked = tuple[Scenes, Sequence[Question]]


@dataclass(frozen=True)
class NumberWorldData:
    """Number World, the embedded benchmark: handwritten numbers, five languages, facts; nothing is downloaded."""

    name: Literal["number-world"] = "number-world"
    split: str = "iid"  #: which generalisation is asked for
    questions: int = 20000  #: training questions, captions or sentences
    held: int = 1000  #: questions of dev and of test
    numbers: int = 30  #: the scenes show 0 up to this number, at most 100
    sizes: tuple[int, ...] = SIZES  #: how many numbers a scene shows, where the split leaves it open
    languages: tuple[str, ...] = LANGUAGES  #: of questions, captions and sentences, where the split leaves it open
    types: tuple[str, ...] | None = None  #: types of question about what is seen; all when null
    relations: tuple[str, ...] | None = None  #: that questions about facts ask for; those of the split when null
    forms: tuple[int, ...] | None = None  #: wordings of a question; those of the split when null
    vision: Literal["true", "shuffled", "blank"] = "true"  #: the scenes, those of other questions, or nothing to see
    graph: Literal["worlds", "fixed"] = "worlds"  #: arbitrary facts drawn anew for every world, or one fixed graph
    facts_per_number: int = 2  #: facts that hang on each name
    distractors: int = 0  #: names of numbers that are not in the scene
    seen: int = 0  #: questions about what is seen that stand among the training questions about facts
    pool: int = 50  #: captions, and their scenes, that retrieval searches at a time
    texts: Literal["captions", "sentences", "translations"] = "captions"  #: what pretraining reads
    topics: tuple[str, ...] | None = None  #: what sentences are about; everything when null
    hidden: float = 0.15  #: the share of tokens that masked-tokens hides
    seed: int = 0  #: same seed, same bytes

    def __post_init__(self) -> None:
        for language in self.languages:
            if language not in LANGUAGES:
                raise UserError(f"data.languages has {language!r}, but Number World speaks {', '.join(LANGUAGES)}")
        for key in ("questions", "held"):
            if getattr(self, key) < 1:
                raise UserError(f"data.{key} is {getattr(self, key)} but must be at least 1")
        if not 0 < self.hidden < 1:
            raise UserError(f"data.hidden is {self.hidden} but must be a share of the tokens, above 0 and below 1")
        if self.seen < 0:
            raise UserError(f"data.seen is {self.seen} but must not be negative")
        if not self.languages:
            raise UserError("data.languages is empty; name at least one")
        part(self.split, "train")

    def side(self, side: str) -> Part:
        """One side of the split, narrowed to what the settings ask for."""
        chosen = part(self.split, side)
        pairs = tuple(pair for pair in chosen.pairs if set(pair) <= set(self.languages))
        if not pairs:
            raise UserError(
                f"the {side} side of {self.split} speaks {', '.join(chosen.languages)}, but data.languages allows "
                f"{', '.join(self.languages)}"
            )
        sizes = tuple(size for size in chosen.sizes if size in self.sizes)
        return replace(
            chosen,
            pairs=pairs,
            sizes=sizes,
            types=self.types if chosen.types is None else chosen.types,
            relations=chosen.relations if self.relations is None else self.relations,
            forms=chosen.forms if self.forms is None else self.forms,
        )

    def count(self, side: str) -> int:
        """How many examples a side has."""
        return self.questions if side == "train" else self.held

    def draw(self, *path: int | str) -> Draw:
        """A stream of numbers for one part of the data."""
        return Draw(self.seed, *path)

    @property
    def asked_relations(self) -> tuple[str, ...]:
        """The relations that training or test asks for."""
        return tuple(dict.fromkeys((*self.side("train").relations, *self.side("test").relations)))

    @property
    def worlds(self) -> Worlds:
        """The facts."""
        drawn = draw_worlds if self.graph == "worlds" else draw_fixed
        return drawn(self.draw("worlds"), numbers=self.numbers)

    @property
    def hashes(self) -> dict[str, str]:
        """What these data are: the version of the generator and the settings that shape it."""
        return {"number-world": WORLD_VERSION, "settings": hashlib.sha256(repr(self).encode()).hexdigest()}


def vqa(data: NumberWorldData, request: Request) -> Prepared:
    """Questions about what a scene shows."""
    return _answering(VQA, data, request, cache(partial(asked_about_seen, data)), SIDES_OF_A_SPLIT)


def knowledge_vqa(data: NumberWorldData, request: Request) -> Prepared:
    """Questions about facts of what a scene shows; the facts told are those of ``request.facts``."""
    worlds = data.worlds

    @cache
    def asked(split: str) -> Asked:
        return asked_about_facts(data, split, request.facts, worlds)

    told_others = (f"{side}{end}" for side in ("dev", "test") for end in TOLD)
    prepared = _answering(KnowledgeVQA, data, request, asked, (*SIDES_OF_A_SPLIT, *told_others))
    scored = prepared.baselines

    def score(split: str) -> Mapping[str, float]:
        told = [question for question in asked(split)[1] if isinstance(question, knowledge.FactQuestion)]
        if request.facts == "none" or request.knowledge in KEPT:
            return scored(split)
        return {**scored(split), "facts-only": baselines.accuracy(baselines.facts_only(told), told)}

    def kept() -> Learnt:
        facts = stated(worlds.of("train"), data.asked_relations, request.facts, data.draw("stated facts"))
        return learnt(request.knowledge, facts, data.languages)

    prepared = replace(
        prepared, baselines=score, tells=TELLS, bases=(BASE,), learnt=kept if request.knowledge in KEPT else None
    )
    if not data.seen:
        return prepared

    def mixed() -> QuestionSource:
        about_seen = asked_about_seen(replace(data, questions=data.seen), "train")
        return _source(data, request, "train", asked("train"), about_seen)

    return replace(prepared, sources={**prepared.sources, "train": mixed})


def _answering(
    task: type[VQA],
    data: NumberWorldData,
    request: Request,
    asked: Callable[[str], Asked],
    splits: Sequence[str],
) -> Prepared:
    labels = answers(data.numbers)

    def source(split: str) -> QuestionSource:
        return _source(data, request, split, asked(split))

    def score(split: str) -> Mapping[str, float]:
        (train_scenes, train), (test_scenes, test) = asked("train"), asked(split)
        return {
            "chance": baselines.chance(train, test),
            "majority": baselines.accuracy(baselines.majority(train, test), test),
            "question-only": baselines.accuracy(baselines.question_only(train, test), test),
            "image-only": baselines.accuracy(baselines.image_only(train, train_scenes, test, test_scenes), test),
        }

    return Prepared(
        sources={split: partial(source, split) for split in splits},
        model=lambda system: task(system, labels, criterion=one_answer),
        sizes={"vocab_size": len(vocabulary()), "region_dim": FEATURES, "entity_dim": WIDTH},
        heads=task.heads(request.recipe, len(labels)),
        hashes=data.hashes,
        baselines=score,
        objectives=partial(_objectives, data),
    )


def asked_about_facts(
    data: NumberWorldData, split: str, facts: str, worlds: Worlds
) -> tuple[Scenes, tuple[knowledge.FactQuestion, ...]]:
    """The scenes of a split and the questions about facts; the end of a split may say which, as in ``TOLD``."""
    side = split.partition("-")[0]
    scenes, generated = knowledge.generate(
        data.side(side),
        data.count(side),
        data.draw("knowledge-vqa", side),
        worlds,
        facts_per_number=data.facts_per_number,
        distractors=data.distractors,
    )
    arm = TOLD.get(split.removeprefix(side), facts)
    return scenes, knowledge.inject(generated, arm, worlds, data.draw("facts", split))


def asked_about_seen(data: NumberWorldData, split: str) -> tuple[Scenes, tuple[Question, ...]]:
    """The scenes of a split and the questions about what they show."""
    return questions.generate(data.side(split), data.count(split), data.draw("vqa", split), numbers=data.numbers)


def _source(data: NumberWorldData, request: Request, split: str, *asked: Asked) -> QuestionSource:
    """Questions about one or more sets of scenes, with what is told in the form that was asked for."""
    by_vectors = request.knowledge in ("fusion", "recontextualise")
    sources = [
        number_world.questions(
            scenes,
            generated if request.knowledge == "tree" else untold(generated),
            answers(data.numbers),
            vision=data.vision,
            draw=data.draw("shuffled scenes", split),
        )
        for scenes, generated in asked
    ]
    source = sources[0] if len(sources) == 1 else number_world.joined(*sources)
    if not by_vectors:
        return source
    base = BASE if request.knowledge == "recontextualise" else None
    return linked(source, [question for _, generated in asked for question in generated], base=base)


def parallel_sentences(data: NumberWorldData, request: Request) -> Prepared:
    """Sentences and their translations; test sentences stand in no parallel data that training could see."""

    def source(side: str) -> TranslationSource:
        return number_world.translations(_corpus(data, side), data.languages)

    return Prepared(
        sources={side: partial(source, side) for side in SIDES_OF_A_SPLIT},
        model=ParallelSentences,
        sizes={"vocab_size": len(vocabulary())},
        hashes=data.hashes,
        baselines=lambda side: {"chance": 1 / data.count(side)},
    )


def pretraining(data: NumberWorldData, request: Request) -> Prepared:
    """Captions with their scenes, sentences by themselves, or sentences and as many translations."""
    objectives = _objectives(data, request.objectives)

    def inputs(side: str) -> TextsOfPictures:
        if data.texts == "captions":
            made = world_captions.captions(
                data.side(side), data.count(side), data.draw("captions", side), numbers=data.numbers
            )
            return number_world.captions(*made, data.languages)
        spoken = number_world.meanings(_corpus(data, side), data.languages)
        alone = monolingual((sentence for meaning in spoken for sentence in meaning), number_world.specials())
        if data.texts == "sentences":
            return TextsOfPictures(alone)
        return TextsOfPictures(Packed.joined(alone, translations(every_pair(spoken), number_world.specials())))

    def source(side: str) -> PuzzleSource:
        return PuzzleSource(inputs(side), Objectives(objectives))

    return Prepared(
        sources={side: partial(source, side) for side in SIDES_OF_A_SPLIT},
        model=lambda system: Mixture(system, objectives, request.objectives),
        sizes={"vocab_size": len(vocabulary()), "region_dim": FEATURES, "num_languages": len(LANGUAGES)},
        heads=heads_of(objectives),
        hashes=data.hashes,
    )


def _objectives(data: NumberWorldData, names: Iterable[str]) -> dict[str, Objective]:
    return objectives_named(names, number_world.specials(), len(vocabulary()), hidden=data.hidden)


def _corpus(data: NumberWorldData, side: str) -> tuple[Parallel, ...]:
    return corpus(
        side,
        data.count(side),
        data.draw("sentences"),
        numbers=data.numbers,
        languages=data.languages,
        topics=TOPICS if data.topics is None else data.topics,
        sizes=data.sizes,
    )


VQA_SUPPLY = Supply(VQA, NumberWorldData, vqa)
KNOWLEDGE_VQA_SUPPLY = Supply(KnowledgeVQA, NumberWorldData, knowledge_vqa)
SENTENCES_SUPPLY = Supply(ParallelSentences, NumberWorldData, parallel_sentences)
PRETRAINING_SUPPLY = Supply(None, NumberWorldData, pretraining)
