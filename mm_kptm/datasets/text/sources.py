"""Sources of text examples: sentences, tagged words, mentions, translations.

Mentions are marked as ERNIE of Tsinghua has it (:mod:`mm_kptm.knowledge.injection.mention_markers`) unless the reading
has markers.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from mm_kptm.batch import Inputs
from mm_kptm.data.formats.jsonl import Translated
from mm_kptm.data.formats.mentions import MentionSpan, RelatedMentions, TypedMention
from mm_kptm.data.formats.uer_tsv import ClassifiedText, Tagged
from mm_kptm.data.formats.xnli import SentencePair
from mm_kptm.data.packing import Packed
from mm_kptm.data.tokenizers.protocol import Pieces, framed
from mm_kptm.knowledge.graph.triples import Triple
from mm_kptm.knowledge.injection.entity_grid import Mention
from mm_kptm.knowledge.injection.fact_injector import Needed
from mm_kptm.knowledge.injection.graph_names import same_name
from mm_kptm.knowledge.injection.marker_tokens import with_markers
from mm_kptm.knowledge.injection.mention_markers import Annotated, confident, mark_linked_pair, mark_pair, mark_target
from mm_kptm.knowledge.linking.segmenter import running
from mm_kptm.preprocessing.text import TextEncoding, TextExample
from mm_kptm.tasks.example import Example
from mm_kptm.tasks.labelling import SEPARATOR, LabelledSource
from mm_kptm.tasks.metrics.tagging import ON_FACT
from mm_kptm.tasks.text.sentence_classification import CANDIDATE
from mm_kptm.tasks.text.sentence_retrieval import Meaning, TranslationSource
from mm_kptm.tasks.text.tagging import BLANK, FACT, IGNORED, NO_WORD, SPECIAL, TaggedSource
from mm_kptm.train.protocol import Source


def pairs(examples: Sequence[SentencePair], labels: Sequence[str], encoding: TextEncoding) -> LabelledSource:
    """Premise and hypothesis in a row; the longer one gives way where both are too long."""
    about = [
        Example(one.id, one.language, one.language, one.group, "" if one.label is None else one.label)
        for one in examples
    ]
    texts = encoding.texts([TextExample(one.id, (one.premise, one.hypothesis), one.language) for one in examples])
    return labelled(texts, labels, [() if one.label is None else (one.label,) for one in examples], about)


def classified(examples: Sequence[ClassifiedText], labels: Sequence[str], encoding: TextEncoding) -> LabelledSource:
    """Sentences, or pairs of them in a row."""
    about = [
        Example(
            id=one.id,
            type="sentence" if one.question is None else CANDIDATE,
            language=one.language,
            group=one.id if one.question is None else f"question-{one.question}",
            target=one.label or "",
        )
        for one in examples
    ]
    texts = encoding.texts([TextExample(one.id, one.texts, one.language) for one in examples])
    return labelled(texts, labels, [() if one.label is None else (one.label,) for one in examples], about)


def tagged(examples: Sequence[Tagged], tags: Sequence[str], encoding: TextEncoding) -> TaggedSource:
    """Sentences whose words are tagged at their first piece; a word that was cut off has none."""
    said = [TextExample(one.id, (running(one.words),), one.language) for one in examples]
    places = {tag: place for place, tag in enumerate(tags, len(SPECIAL))}
    cuts = [encoding.cut(text) for text in said]
    words: list[int] = []
    truth: list[int] = []
    for one, text, ((pieces, kept),) in zip(examples, said, cuts, strict=True):
        marks = _first_pieces(text.parts[0], one.words, pieces)[:kept]
        marks = encoding.template.in_place(marks, NO_WORD, encoding.tokenizer.specials)
        words += marks
        gold = one.tags or ()
        truth += [places.get(gold[word], IGNORED) if 0 <= word < len(gold) else IGNORED for word in marks]
    shown = encoding.texts(said, cuts)
    on_trunk = encoding.outside_facts(shown.texts)
    columns = {
        "words": np.full(len(on_trunk), FACT, dtype=np.int64),
        "truth": np.full(len(on_trunk), SPECIAL.index(ON_FACT), dtype=np.int64),
    }
    columns["words"][on_trunk], columns["truth"][on_trunk] = words, truth
    about = [Example(one.id, "sentence", one.language, one.id, BLANK.join(one.tags or ())) for one in examples]
    marks_of_all = Packed(shown.texts.offsets, columns)
    return TaggedSource(shown, marks_of_all, tuple(about), tuple(len(one.words) for one in examples))


def typed(examples: Sequence[TypedMention], labels: Sequence[str], encoding: TextEncoding) -> LabelledSource:
    """Texts whose mention is marked; the types in the order of the labels."""
    if encoding.markers is None:
        annotated = [
            mark_target(one.text, one.mention.start, one.mention.end, _linked(one.links, encoding.threshold))
            for one in examples
        ]
    else:
        annotated = [Annotated(with_markers(one.text, one.mention[:2]), ()) for one in examples]
    said = [
        TextExample(one.id, (text.text,), one.language, _about(_named(one.text, one.mention)))
        for one, text in zip(examples, annotated, strict=True)
    ]
    held = [() if one.types is None else tuple(dict.fromkeys(one.types)) for one in examples]
    order = {label: place for place, label in enumerate(labels)}
    ordered = [SEPARATOR.join(sorted(types, key=lambda type_: (order.get(type_, -1), type_))) for types in held]
    about = [
        Example(one.id, "mention", one.language, one.id, target) for one, target in zip(examples, ordered, strict=True)
    ]
    return labelled(encoding.mentions(annotated, said), labels, held, about)


def related(examples: Sequence[RelatedMentions], labels: Sequence[str], encoding: TextEncoding) -> LabelledSource:
    """Texts whose head and tail are marked; entities are what was linked, or head and tail where nothing else was."""
    annotated, said = [], []
    for one in examples:
        head, tail = (_mention(end) for end in (one.head, one.tail))
        if encoding.markers is not None:
            annotated.append(Annotated(with_markers(one.text, one.head[:2], one.tail[:2]), ()))
        elif one.links in ((one.head, one.tail), ()):
            annotated.append(mark_linked_pair(one.text, head, tail))
        else:
            annotated.append(mark_pair(one.text, head, tail, _linked(one.links, encoding.threshold)))
        needed = _between(_named(one.text, one.head), _named(one.text, one.tail))
        said.append(TextExample(one.id, (annotated[-1].text,), one.language, needed))
    about = [Example(one.id, one.relation or "", one.language, one.id, one.relation or "") for one in examples]
    held = [() if one.relation is None else (one.relation,) for one in examples]
    return labelled(encoding.mentions(annotated, said), labels, held, about)


def translated(examples: Sequence[Translated], encoding: TextEncoding) -> TranslationSource:
    """Every example in every two of its languages, each two once, in alphabetical order."""
    by_pair: dict[tuple[str, str], list[Translated]] = defaultdict(list)
    for one in examples:
        for pair in combinations(sorted(one.sentences), 2):
            by_pair[pair[0], pair[1]].append(one)
    chosen = [(one, pair) for pair in sorted(by_pair) for one in by_pair[pair]]
    sides = []
    for side in (0, 1):
        said = [(one.sentences[pair[side]], pair[side]) for one, pair in chosen]
        room = encoding.max_length - encoding.tokenizer.specials.around(1)
        framings = [
            framed(encoding.tokenizer.specials, encoding.tokenizer.encode(text, language).ids[:room])
            for text, language in said
        ]
        sides.append(encoding.pack(framings, [language for _, language in said]))
    left, right = sides
    return TranslationSource(left, right, tuple(Meaning(one.id, "sentence", pair) for one, pair in chosen))


def labelled(
    shown: Source[Inputs], labels: Sequence[str], held: Sequence[Sequence[str]], about: Sequence[Example]
) -> LabelledSource:
    """Labels that training never saw cannot be given; they stay in what is expected."""
    places = {label: place for place, label in enumerate(labels)}
    truth = Packed.of(labels=[[places[label] for label in one if label in places] for one in held])
    return LabelledSource(shown, tuple(labels), truth, tuple(about))


def _first_pieces(text: str, words: Sequence[str], pieces: Pieces) -> list[int]:
    """Index of the word that every piece starts, :data:`NO_WORD` for other pieces."""
    ends, end = [], 0
    for word in words:
        end = text.index(word, end) + len(word)
        ends.append(end)
    begun = -1
    marks = []
    for start, _ in pieces.spans:
        place = bisect_right(ends, start)
        marks.append(place if place > begun else NO_WORD)
        begun = max(begun, place)
    return marks


def _mention(span: MentionSpan) -> Mention:
    return Mention(span.entity, span.start, span.end, span.score)


def _linked(links: Sequence[MentionSpan], threshold: float) -> tuple[Mention, ...]:
    return confident(map(_mention, links), threshold)


def _named(text: str, span: MentionSpan) -> str:
    return text[span.start : span.end]


def _about(name: str) -> Needed:
    return lambda fact: same_name(fact.head, name)


def _between(head: str, tail: str) -> Needed:

    def between(fact: Triple) -> bool:
        forwards = same_name(fact.head, head) and same_name(fact.tail, tail)
        return forwards or (same_name(fact.head, tail) and same_name(fact.tail, head))

    return between
