"""Names of concepts as text alone: retrieval of names in other languages, masked and translation language modelling.

Pretraining reads sentences beside the names where there are some: messages of catalogues and articles of the
Declaration of Human Rights, which packages bring along.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from mm_kptm.batch import Inputs
from mm_kptm.crosslingual.corpora.bitext import EncodedSentence, every_pair, monolingual, translations
from mm_kptm.crosslingual.objectives.translation_language_modeling import TRANSLATIONS
from mm_kptm.data.formats.jsonl import read_parallel
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.errors import UserError
from mm_kptm.objectives.mixture import Mixture, Objectives
from mm_kptm.objectives.spec import LANGUAGE_IDS, TEXTS, Offers, find_objective
from mm_kptm.preprocessing.inputs import InputSource
from mm_kptm.suites.atlas.datasets.controls import trigrams
from mm_kptm.suites.atlas.datasets.settings import AtlasData
from mm_kptm.suites.atlas.datasets.splits import spelt_alike, split_side
from mm_kptm.tasks.pretraining import ObjectiveSource, SourcesOfObjectives, heads_of
from mm_kptm.tasks.text.sentence_retrieval import Meaning, ParallelSentences, TranslationSource
from mm_kptm.train.protocol import Source

SIDES = {"train": "iid", "dev": "dev", "test": "concept"}  #: the split whose concepts a side names


def _encoded(data: AtlasData, concept: int, language: str) -> EncodedSentence:
    tokenizer = data.tokenizer()
    room = data.max_length - tokenizer.specials.around(1)
    ids = tokenizer.encode(data.atlas.names[language][concept], language).ids[:room]
    return EncodedSentence(ids, data.atlas.languages.index(language))


def _languages(data: AtlasData) -> tuple[str, ...]:
    return (*data.languages, *data.parallel_languages)


def _sentences(data: AtlasData) -> list[list[EncodedSentence]]:
    """Sentences of the files of the settings in the languages that are read.

    Raises:
        UserError: a file has none of them in two of these languages.
    """
    tokenizer, spoken = data.tokenizer(), _languages(data)
    room = data.max_length - tokenizer.specials.around(1)
    found = []
    for path in data.sentences:
        said = [
            [
                EncodedSentence(tokenizer.encode(text, language).ids[:room], data.atlas.languages.index(language))
                for language, text in one.sentences.items()
                if language in spoken
            ]
            for one in read_parallel(path)
        ]
        if not any(len(one) > 1 for one in said):
            raise UserError(f"{path} holds no sentence in two of {', '.join(spoken)}; name other languages or files")
        found += said
    return found


def parallel_names(data: AtlasData, request: DataRequest) -> PreparedData:
    """Names and their translations, every pair with the first language; names that are spelt the same are left out."""
    first, *others = _languages(data)

    def source(side: str) -> TranslationSource:
        specials = data.tokenizer().specials
        concepts = split_side(data, SIDES[side]).concepts
        said = [
            (concept, other)
            for other in others
            for concept in concepts
            if data.atlas.names[first][concept]
            and (name := data.atlas.names[other][concept])
            and not spelt_alike(data.atlas, concept, name, (first,))
        ]
        return TranslationSource(
            monolingual((_encoded(data, concept, first) for concept, _ in said), specials),
            monolingual((_encoded(data, concept, other) for concept, other in said), specials),
            tuple(Meaning(data.atlas.concepts[concept].code, "name", (first, other)) for concept, other in said),
        )

    return PreparedData(
        sources={side: partial(source, side) for side in SIDES},
        model=ParallelSentences,
        sizes={"vocab_size": len(data.tokenizer())},
        fingerprints=data.fingerprints,
        baselines=lambda side: {} if side == "train" else name_controls(data, side),
    )


def name_controls(data: AtlasData, side: str) -> dict[str, float]:
    """Recall at 1 without a model: ``chance``, and ``string-overlap``, the name that shares most runs of three letters.

    Of names that are spelt otherwise than in the first language, over all other languages.
    """
    first, *others = _languages(data)
    concepts = [one for one in split_side(data, SIDES[side]).concepts if data.atlas.names[first][one]]
    grams = [trigrams(data.atlas.names[first][one]) for one in concepts]
    right = []
    for other in others:
        for place, concept in enumerate(concepts):
            name = data.atlas.names[other][concept]
            if not name or spelt_alike(data.atlas, concept, name, (first,)):
                continue
            asked = trigrams(name)
            shared = [2 * len(asked & of) / (len(asked) + len(of)) for of in grams]
            best = max(shared)
            right.append((shared[place] == best) / shared.count(best))
    return {"chance": 1 / max(1, len(concepts)), "string-overlap": sum(right) / max(1, len(right))}


def pretraining(data: AtlasData, request: DataRequest) -> PreparedData:
    """Names and sentences in all languages of the settings, and pairs of them for objectives on translations."""
    tokenizer = data.tokenizer()
    offers = Offers(data.name, {TEXTS: None, TRANSLATIONS: None, LANGUAGE_IDS: lambda: len(data.atlas.languages)})
    objectives = request.built_objectives(offers, tokenizer, data.mask_rate)
    forms = {name: find_objective(name).needs for name in objectives}
    on_pairs = any(TRANSLATIONS in needs for needs in forms.values())

    def inputs(side: str, needs: Sequence[str]) -> Source[Inputs]:
        concepts = split_side(data, SIDES[side]).concepts
        said = [
            [_encoded(data, concept, one) for one in _languages(data) if data.atlas.names[one][concept]]
            for concept in concepts
        ]
        said += _sentences(data) if side == "train" else []
        if TRANSLATIONS in needs:
            return InputSource(translations(every_pair(said), tokenizer.specials))
        return InputSource(monolingual((one for meaning in said for one in meaning), tokenizer.specials))

    def source(side: str) -> ObjectiveSource | SourcesOfObjectives:
        if on_pairs:
            return SourcesOfObjectives({name: inputs(side, needs) for name, needs in forms.items()}, objectives)
        return ObjectiveSource(inputs(side, ()), Objectives(objectives))

    return PreparedData(
        sources={side: partial(source, side) for side in SIDES},
        model=lambda system: Mixture(system, objectives, request.objectives),
        sizes={"vocab_size": len(tokenizer), "num_languages": len(data.atlas.languages)},
        heads=heads_of(objectives),
        fingerprints=data.fingerprints,
    )


PARALLEL_NAMES = TaskDataset(ParallelSentences, AtlasData, parallel_names)
PRETRAINING = TaskDataset(None, AtlasData, pretraining)
