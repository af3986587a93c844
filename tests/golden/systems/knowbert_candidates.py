"""How the released KnowBERT finds the candidates of a text, compared value by value."""

from collections.abc import Sequence
from typing import Any

from mm_kptm.knowledge.injection.candidate_spans import CandidateWordSpans, Spanner, TextWithCandidates
from mm_kptm.knowledge.linking.candidates import (
    RELEASED_SIGNS,
    CandidateSpan,
    NameDictionary,
    last_spelling,
    read_names,
)
from mm_kptm.knowledge.linking.word_senses import SenseList
from tests.golden.case import Answer, Case


def data(case: Case) -> tuple[dict[str, Answer], dict[str, Any]]:
    names = read_names(case.folder / "p_e_m.txt", case.json("entity_world.json"))
    find = NameDictionary(
        names, case.json("stop_words.json"), ignored=RELEASED_SIGNS.__contains__, merged=last_spelling
    )
    words = CandidateWordSpans((case.folder / "vocab.txt").read_text(encoding="utf-8").split())
    spanner = Spanner(words, {"wiki": find}, max_length=int(case.called_with("max_word_piece_sequence_length")))
    answers: dict[str, Any] = {}
    truths: dict[str, Any] = {}
    for number, told in enumerate(case.json("single.json")):
        spanned, cut = spanner(told["text"]), words(told["text"])
        truths[f"single {number}"] = told
        answers[f"single {number}"] = {
            "text": told["text"],
            "word_level": {"tokenized_text": cut, **listed(find(cut))},
            "result": result(spanned, {"tokenized_text": list(spanned.words[0])}),
        }
    for number, told in enumerate(case.json("pairs.json")):
        texts = {name: told[name] for name in ("text_a", "text_b")}
        truths[f"pair {number}"] = told
        answers[f"pair {number}"] = {**texts, "result": result(spanner(*texts.values()), {})}
    truths["wordnet"] = case.json("wordnet_candidates.json")
    answers["wordnet"] = {setting: senses(case, setting) for setting in truths["wordnet"]}
    return {name: Answer(ours) for name, ours in answers.items()}, truths


def listed(spans: Sequence[CandidateSpan]) -> dict[str, Any]:
    """Spans as the released code lists them; a text without any has one that is blank."""
    shown = spans or [CandidateSpan(-1, -1, ("@@PADDING@@",), (1.0,))]
    return {
        "candidate_spans": [[span.first, span.last] for span in shown],
        "candidate_entities": [list(span.entities) for span in shown],
        "candidate_entity_priors": [list(span.priors) for span in shown],
    }


def result(spanned: TextWithCandidates, beside: dict[str, Any]) -> dict[str, Any]:
    spans = {name: listed(found) for name, found in spanned.spans.items()}
    # the segment of a blank span is that of the piece numbered -1, the last one
    return {
        "tokens": list(spanned.pieces),
        "segment_ids": list(spanned.segments),
        "candidates": {
            name: {
                **beside,
                **found,
                "candidate_segment_ids": [spanned.segments[first] for first, _ in found["candidate_spans"]],
            }
            for name, found in spans.items()
        },
        "offsets_a": list(spanned.ends[0]),
        "offsets_b": list(spanned.ends[1]) if len(spanned.ends) > 1 else None,
    }


def senses(case: Case, setting: str) -> dict[str, list[dict[str, Any]]]:
    """The senses of every string; a setting is called ``smoothing_1_topk_30``, and below zero asks for plain counts."""
    _, smoothing, _, most = setting.split("_")
    known = SenseList.open(case.folder / "wordnet_entities.jsonl")
    return {
        string: [
            {
                "synset_id": lemma.synset,
                "lemma_id": lemma.id,
                "pos": lemma.part_of_speech,
                "prior": lemma.times if int(smoothing) < 0 else prior,
            }
            for lemma, prior in known.likeliest(lemmas, int(most), abs(int(smoothing)))
        ]
        for string, lemmas in known.senses.items()
    }
