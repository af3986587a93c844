"""Knowledge VQA on flags: currency, language, region, capital and neighbour of the country of a flag."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, partial

import numpy as np
import torch
from numpy.typing import NDArray

from mm_kptm.data.packing import Packed
from mm_kptm.datasets.illustration import Illustration
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.knowledge.injection.fact_injector import TokenSequence, build_trees
from mm_kptm.knowledge.injection.sentence_tree import TokenWithFacts
from mm_kptm.knowledge.kinds.protocol import BRANCHES
from mm_kptm.knowledge.objectives.bridge_entity import BRIDGE_ENTITIES, BridgeEntity
from mm_kptm.preprocessing.image_text import ImageTextLayout
from mm_kptm.preprocessing.inputs import InputSource, RegionCrops
from mm_kptm.report.gallery import Fact
from mm_kptm.suites.atlas.data.drawings import Pixels
from mm_kptm.suites.atlas.datasets.drawings import changed
from mm_kptm.suites.atlas.datasets.flag_controls import controls
from mm_kptm.suites.atlas.datasets.flag_questions import REAL, FlagQuestion, generate, inject, name_questions
from mm_kptm.suites.atlas.datasets.flag_settings import (
    AtlasFlagsData,
    entity_word,
    question_text,
    relation_label,
    relation_word,
    words,
)
from mm_kptm.suites.atlas.datasets.hops import TWO_STEPS, Hops, real_steps
from mm_kptm.systems.text_format import BERT_FORMAT, TextFormat
from mm_kptm.tasks.example import Example
from mm_kptm.tasks.knowledge_use import COUNTERFACTUAL_SUFFIXES
from mm_kptm.tasks.vision.knowledge_vqa import KnowledgeVQA
from mm_kptm.tasks.vision.vqa import QuestionSource, one_answer

HEIGHT, WIDTH = 12, 16  #: of the pixels of a flag that are read
FEATURES = HEIGHT * WIDTH * 3
BREAK = "|"


def knowledge_vqa(data: AtlasFlagsData, request: DataRequest) -> PreparedData:
    """Questions about flags, with facts of the kind ``request.facts`` at the names of countries."""

    @cache
    def asked(split: str) -> tuple[FlagQuestion, ...]:
        side = split.partition("-")[0]
        arm = COUNTERFACTUAL_SUFFIXES.get(split.removeprefix(side), request.facts)
        injected = arm if request.form == BRANCHES else "none"
        found = inject(data, generate(data, side), injected, data.draw("told", split))
        if side == "train" and data.num_name_questions:
            found += name_questions(data)
        return tuple(found)

    def source(split: str) -> QuestionSource:
        return questions(data, asked(split), split, request.recipe.text, visible_matrix=request.visible_matrix)

    def score(split: str) -> Mapping[str, float]:
        train = [one for one in asked("train") if one.id.startswith("flag")]
        return controls(train, asked(split), len(data.answers))

    counterfactual = (f"{side}{end}" for side in ("dev", "test") for end in COUNTERFACTUAL_SUFFIXES)
    return PreparedData(
        sources={split: partial(source, split) for split in ("train", "dev", "test", *counterfactual)},
        model=lambda system: KnowledgeVQA(system, data.answers, criterion=one_answer),
        sizes={"vocab_size": len(data.tokenizer()), "region_dim": FEATURES},
        heads=KnowledgeVQA.heads(request.recipe, len(data.answers)),
        fingerprints=data.fingerprints,
        baselines=score,
        knowledge_forms=frozenset({BRANCHES}),
        labels={BRIDGE_ENTITIES: lambda: len(data.bridges)},
        illustrate=None if data.vision != "true" else lambda split, index: illustrated(data, asked(split)[index]),
    )


def questions(
    data: AtlasFlagsData,
    asked: Sequence[FlagQuestion],
    split: str,
    format: TextFormat = BERT_FORMAT,
    *,
    visible_matrix: bool = True,
) -> QuestionSource:
    """Source of questions; facts hang from the names of countries as branches."""
    numbers = {label: number for number, label in enumerate(data.answers)}
    right = [[numbers[answer] for answer in right_answers(data, one) if answer in numbers] for one in asked]
    gold = Packed.of(answers=right, tenths=[[10] * len(one) for one in right])
    train = split.startswith("train")
    pictures = flags(data, data.variants if train else 1, "flags" if train else data.style)
    variants = data.variants if train else 1
    shown = np.array([data.countries.index(one.country) * variants + one.variant for one in asked], dtype=np.int64)
    if data.vision == "blank":
        pictures, shown = RegionCrops.blank(FEATURES), np.zeros_like(shown)
    elif data.vision == "shuffled":
        shown = np.roll(shown[data.draw("shuffled", split).orders(1, len(shown))[0]], 1)
    bridges: dict[str | None, int] = {entity: number for number, entity in enumerate(data.bridges)}
    labels = {BridgeEntity.name: np.array([bridges.get(one.bridge, -1) for one in asked], dtype=np.int64)}
    return QuestionSource(
        InputSource(_trees(data, asked, format, visible_matrix=visible_matrix), pictures, shown, labels=labels),
        data.answers,
        gold,
        tuple(_about(one) for one in asked),
    )


def right_answers(data: AtlasFlagsData, one: FlagQuestion) -> tuple[str, ...]:
    """What counts as right: the answer, and every neighbour, or what it has, where the real borders hold."""
    if one.relation not in ("borders", "neighbour_currency") or one.world != REAL or one.arm == "swapped":
        return (one.answer,)
    every = data.atlas.tails("borders")[f"territory:{one.country}"]
    if one.relation == "neighbour_currency":
        ends = real_steps(data.atlas, one.relation)[1]
        every = tuple(ends[neighbour] for neighbour in every if neighbour in ends)
    return tuple(dict.fromkeys((one.answer, *every)))


def flags(data: AtlasFlagsData, variants: int, style: str) -> RegionCrops:
    """Every country's flag in some variants as one region each; the first variant is the drawing itself."""
    place = data.atlas.place(style)
    whole = data.atlas.pixels(style)[[place[code] for code in data.countries]]
    rows = [reduced(whole)]
    values = torch.from_numpy(whole).permute(0, 3, 1, 2).float() / 255
    generator = torch.Generator().manual_seed(data.seed)
    for _ in range(variants - 1):
        moved = (changed(values, generator) * 255).round().byte().permute(0, 2, 3, 1).numpy()
        rows.append(reduced(moved))
    pixels = np.stack(rows, axis=1).reshape(-1, FEATURES)
    boxes = np.tile(np.array([[0, 0, 1, 1]], np.float32), (len(pixels), 1))
    return RegionCrops(pixels, boxes, np.arange(len(pixels) + 1, dtype=np.int64))


def reduced(drawings: Pixels) -> NDArray[np.uint8]:
    """Flags of 36 x 48 pixels in the middle of squares as rows of 12 x 16 pixels, [N, 576]."""
    middle = drawings[:, 6:42].reshape(len(drawings), HEIGHT, 3, WIDTH, 3, 3).mean(axis=(2, 4))
    return np.asarray(middle.round().astype(np.uint8).reshape(len(drawings), -1))


def illustrated(data: AtlasFlagsData, one: FlagQuestion) -> Illustration:
    """The flag of a question, and the facts that are injected."""
    atlas = data.atlas

    def label(entity: str, language: str) -> str:
        return atlas.labels[entity].get(language) or atlas.labels[entity].get("en", entity)

    drawing = atlas.pixels(data.style)[atlas.place(data.style)[one.country]]
    first, second = TWO_STEPS.get(one.relation, Hops(one.relation, one.relation))
    led = one.injected[one.candidates.index(one.country)]
    injected = [
        (f"territory:{country}", first, fact) for country, fact in zip(one.candidates, one.injected, strict=True)
    ]
    used = {(f"territory:{one.country}", first), (led, second)}
    facts = tuple(
        Fact(
            label(subject, one.fact_language),
            relation_label(relation, one.fact_language),
            label(fact, one.fact_language),
            used=(subject, relation) in used,
        )
        for subject, relation, fact in (*injected, *((middle, second, fact) for middle, fact in one.middle))
        if fact is not None
    )
    return Illustration(
        question=question_text(one.relation, one.language),
        pixels=drawing.repeat(4, axis=0).repeat(4, axis=1),
        regions=("flag",),
        facts=facts,
        wording=lambda entity: label(entity, one.language),
    )


def _about(one: FlagQuestion) -> Example:
    return Example(
        id=one.id,
        type=one.relation,
        language=one.language,
        group=f"country-{one.country}",
        target=one.answer,
        factual_answer=one.true_answer if one.arm == "swapped" else None,
    )


def _trees(data: AtlasFlagsData, asked: Sequence[FlagQuestion], format: TextFormat, *, visible_matrix: bool) -> Packed:
    tokenizer = data.tokenizer()
    layout = ImageTextLayout(tokenizer.specials, format, asks=True)
    before, after = layout.around()
    ids = {word: number for number, word in enumerate(tokenizer.vocabulary)}

    def named(subject: str, relation: str, fact: str | None, language: str) -> int | TokenWithFacts:
        name = ids[entity_word(data.atlas, subject, language)]
        if fact is None:
            return name
        branch = (relation_word(relation, language), entity_word(data.atlas, fact, language))
        return TokenWithFacts(name, (tuple(ids[word] for word in branch),))

    def sequence(one: FlagQuestion) -> TokenSequence:
        tokens: TokenSequence = [ids[word] for word in words(question_text(one.relation, one.language), one.language)]
        tokens.append(ids[BREAK])
        first, second = TWO_STEPS.get(one.relation, Hops(one.relation, one.relation))
        for country, fact in zip(one.candidates, one.injected, strict=True):
            tokens.append(named(f"territory:{country}", first, fact, one.fact_language))
        if one.middle:
            tokens.append(ids[BREAK])
        tokens += [named(middle, second, fact, one.fact_language) for middle, fact in one.middle]
        return [*before, *tokens, *after]

    trees = build_trees([sequence(one) for one in asked], max_length=128, visible_matrix=visible_matrix)
    columns = dict(trees.columns)
    if format.image_first or format.answer_slot != "none":  # a fact has the segment of its word
        framings = [layout(range(len(sequence(one)) - len(before) - len(after))) for one in asked]
        starts = np.repeat(np.cumsum([0, *(len(segments) for _, segments in framings)])[:-1], trees.lengths)
        every = np.array([segment for _, segments in framings for segment in segments], dtype=np.int64)
        columns["segments"] = every[starts + trees.columns["words"]]
    return Packed(trees.offsets, columns)


KNOWLEDGE_VQA = TaskDataset(KnowledgeVQA, AtlasFlagsData, knowledge_vqa)
