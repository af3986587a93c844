"""LAMA as a dataset: cloze sentences, answer candidates and injected facts of their subjects.

Zero-shot experiments have ``train.steps: 0``. Facts whose object is not a single-token candidate are left out, and
counted, as in LAMA.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Literal

import numpy as np

from mm_kptm.data.formats.lama import BLANK, Cloze, read_lama, read_templates
from mm_kptm.data.packing import Packed
from mm_kptm.data.tokenizers.added_tokens import PlaceholderTokenizer
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS, Tokenizer
from mm_kptm.data.tokenizers.tokenizer_json import TokenizerJson
from mm_kptm.datasets.knowledge_settings import (
    KnowledgeFileSettings,
    KnowledgeTextSettings,
    counterfactual_splits,
)
from mm_kptm.datasets.protocol import DataRequest, FileReader, PreparedData, TaskDataset
from mm_kptm.datasets.settings import by_split, fingerprints
from mm_kptm.datasets.skips import Skips
from mm_kptm.errors import UserError
from mm_kptm.io.text_lines import read_text
from mm_kptm.knowledge.graph.triples import Triple
from mm_kptm.knowledge.injection.graph_names import same_name
from mm_kptm.knowledge.kinds.protocol import BRANCHES
from mm_kptm.preprocessing.inputs import InputSource
from mm_kptm.preprocessing.text import TextEncoding, TextExample
from mm_kptm.tasks.example import Example
from mm_kptm.tasks.knowledge.cloze import CandidateWords, ClozeSource, FillBlanks, first_blanks
from mm_kptm.tasks.metrics.ranking import UNKNOWN

NO_CANDIDATE, CUT_OFF = "has no answer of one token among the candidates", "has its blank cut off by data.max_length"


@dataclass(frozen=True, kw_only=True)
class LamaData(KnowledgeTextSettings):
    """LAMA's facts (Petroni et al. 2019): a file of JSON lines, or a folder with one for each relation."""

    name: Literal["lama"]
    test: Path  #: the facts that are asked for
    train: Path | None = None  #: facts to learn from; none are needed with ``train.steps: 0``
    dev: Path | None = None  #: facts to choose a model by
    templates: Path | None = None  #: relations.jsonl; sentences of the facts' own where null
    candidates: Path | None = None  #: words that may fill a blank, one a line; all of the vocabulary when null

    @property
    def files(self) -> dict[str, Path]:
        """The facts of every split there is."""
        given = {"train": self.train, "dev": self.dev, "test": self.test}
        return {split: path for split, path in given.items() if path is not None}

    @property
    def fingerprints(self) -> dict[str, str]:
        """Fingerprint of the data and the settings that affect them."""
        parts = {"templates": self.templates, "candidates": self.candidates, "graph": self.graph}
        files = {part: path for part, path in parts.items() if path is not None} | self.tokenizer_files
        for split, path in self.files.items():
            members = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
            files |= {f"{split}/{member.name}" if path.is_dir() else split: member for member in members}
        return fingerprints(files)


class Blanked(PlaceholderTokenizer):
    """Tokenizer that maps the blank of a text to the mask token."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__(tokenizer, {BLANK: tokenizer.specials.mask_id})


def one_token(word: str, tokenizer: Tokenizer) -> int | None:
    """The id of a word that is a single known token after a space; None otherwise."""
    ids = tokenizer.encode(f" {word}").ids
    return ids[0] if len(ids) == 1 and ids[0] != tokenizer.specials.unknown else None


def candidates(tokenizer: Blanked, file: Path | None) -> CandidateWords:
    """The words of a file that are one token each, or every whole word of the vocabulary.

    Raises:
        UserError: the file cannot be read, or fewer than two of its words are one token.
    """
    if file is None:
        words = list(dict.fromkeys(filter(None, _whole(tokenizer.tokenizer))))
    else:
        lines = read_text(file, "a file of one word a line").split("\n")
        words = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    found: dict[int, str] = {}
    for word in words:
        if (number := one_token(word, tokenizer)) is not None:
            found.setdefault(number, word)
    if len(found) < 2:
        raise UserError(
            f"{len(found)} of {len(words)} candidates are one token of the vocabulary; a blank needs two at least to "
            "choose from"
        )
    return CandidateWords(tuple(found.values()), tuple(found))


def blanks(examples: Sequence[Cloze], choices: CandidateWords, encoding: TextEncoding) -> tuple[ClozeSource, Skips]:
    """Cloze sentences, and those left out because their answer is no candidate or their blank is truncated.

    With swapped (counterfactual) facts, the gold answer is the object of the injected fact; the sentences are the same.
    """
    places = {number: place for place, number in enumerate(choices.ids)}
    answers = [_place(one.answer, encoding.tokenizer, places) for one in examples]
    said = [TextExample(one.id, (one.text,), one.language, _fills(one)) for one in examples]
    texts = encoding.texts(said)
    spots = first_blanks(texts.texts, encoding.tokenizer.specials.mask_id)
    kept = [at for at, one in enumerate(examples) if spots[at] >= 0 and (one.answer is None or answers[at] != UNKNOWN)]
    truth, about = [], []
    for at in kept:
        one, place, without_facts = examples[at], answers[at], None
        other = _place(_counterfactual_answer(one, encoding), encoding.tokenizer, places)
        if other != UNKNOWN and _is_said(texts.texts, at, choices.ids[other]):
            without_facts, place = choices.words[place], other
        target = "" if place == UNKNOWN else choices.words[place]
        about.append(
            Example(
                one.id, one.relation, one.language, f"{one.subject or one.id}", target, factual_answer=without_facts
            )
        )
        truth.append(place)
    columns, lengths = texts.texts.take(kept)
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    shown = InputSource(replace(texts.texts, offsets=offsets, columns=columns))
    left_out = sorted({*range(len(examples))} - {*kept})
    skips = Skips.of((examples[at].id, CUT_OFF if spots[at] < 0 else NO_CANDIDATE) for at in left_out)
    return ClozeSource(shown, spots[kept], np.array(truth, np.int64), tuple(about)), skips


def cloze(
    data: LamaData | KnowledgeFileSettings,
    request: DataRequest,
    read: Callable[[Path], Sequence[Cloze]],
    file: Path | None,
) -> PreparedData:
    """Blanks in the sentences that ``read`` reads, with the candidates of a file or of the vocabulary."""
    heads = FillBlanks.heads(request.recipe)
    spelling = Blanked(data.tokenizer_for(request.recipe))
    choices, examples = candidates(spelling, file), by_split(data.files, read)
    encoding = replace(data.text_encoding(request, oracle=True), tokenizer=spelling)
    splits = counterfactual_splits(data.files, request, oracle=True)

    @cache
    def made(split: str) -> tuple[ClozeSource, Skips]:
        part, facts = splits[split]
        source, left_out = blanks(examples(part), choices, replace(encoding, facts=facts))
        if not len(source):
            raise UserError(
                f"every one of the {len(left_out)} facts of {data.files[part]} was left out: no object is one token "
                "among the candidates, or every blank is cut off; give other candidates or a greater data.max_length"
            )
        return source, left_out

    return PreparedData(
        sources={split: partial(lambda split: made(split)[0], split) for split in splits},
        model=lambda system: FillBlanks(system, choices),
        sizes={"vocab_size": len(spelling), "num_languages": max(len(encoding.languages), 1)},
        heads=heads,
        fingerprints=data.fingerprints,
        baselines=lambda split: _usual(made(split)[0].about, len(choices.words)),
        skipped=lambda split: made(split)[1],
        knowledge_forms=frozenset() if encoding.injector is None else frozenset({BRANCHES}),
        encoding=encoding,
        read_file=FileReader(read, lambda some: blanks(some, choices, encoding)[0]),
    )


def lama(data: LamaData, request: DataRequest) -> PreparedData:
    """LAMA's facts in their own sentences or in templates."""
    templates = {} if data.templates is None else read_templates(data.templates)
    return cloze(data, request, lambda path: read_lama(path, templates), data.candidates)


def _usual(about: Sequence[Example], count: int) -> Mapping[str, float]:
    """Baselines: accuracy of the most frequent answer of each relation, and chance."""
    by_relation: dict[str, dict[str, int]] = {}
    about = [one for one in about if one.is_labelled]
    if not about:
        return {}
    for one in about:
        counts = by_relation.setdefault(one.type, {})
        counts[one.target] = counts.get(one.target, 0) + 1
    best = sum(max(counts.values()) for counts in by_relation.values())
    return {"chance": 1 / count, "usual-object": best / len(about)}


def _counterfactual_answer(one: Cloze, encoding: TextEncoding) -> str | None:
    """The object of the swapped fact about the subject; None without one, or with facts that are not swapped."""
    if encoding.injector is None or encoding.facts != "swapped" or one.subject is None or one.answer is None:
        return None
    (mentions,) = encoding.injector.mentions([one.text], one.language)
    subjects = [entity for start, end, entity in mentions if same_name(one.text[start:end], one.subject)]
    facts = encoding.injector.facts(subjects[0], encoding.facts, language=one.language) if subjects else ()
    return next((fact.tail for fact in facts if fact.relation in one.called), None)


def _is_said(texts: Packed, at: int, number: int) -> bool:
    """Whether a token occurs in an injected fact of a text; facts may be left out for lack of room."""
    rows = slice(*texts.offsets[at : at + 2])
    return bool(((texts.columns["ids"][rows] == number) & (texts.columns["branches"][rows] != 0)).any())


def _fills(one: Cloze) -> Callable[[Triple], bool]:
    """Whether a fact fills the blank."""

    def fills(fact: Triple) -> bool:
        known = one.subject is not None and one.answer is not None and fact.relation in one.called
        return known and same_name(fact.head, one.subject or "") and same_name(fact.tail, one.answer or "")

    return fills


def _place(word: str | None, tokenizer: Tokenizer, places: Mapping[int, int]) -> int:
    number = None if word is None else one_token(word, tokenizer)
    return UNKNOWN if number is None else places.get(number, UNKNOWN)


def _whole(tokenizer: Tokenizer) -> Iterable[str]:
    """Pieces of the vocabulary that may be whole words."""
    if isinstance(tokenizer, TokenizerJson):
        return tokenizer.words
    return (piece for piece in tokenizer.vocabulary if not piece.startswith("##") and not _is_special(piece))


def _is_special(piece: str) -> bool:
    return piece in BERT_SPECIALS or piece.startswith("[unused")


LAMA_SUPPLY = TaskDataset(FillBlanks, LamaData, lama, read_lama)
