"""What a mention means: priors, the text around it, a threshold, the language, and deterministic ties."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat

import pytest
import torch
from torch import Tensor

from mm_kptm.errors import UserError
from mm_kptm.knowledge.linking.aliases import Alias, Aliases
from mm_kptm.knowledge.linking.linked_texts import Candidate, Link, LinkedText
from mm_kptm.knowledge.linking.linker import Context, MentionLinker, described

ALIASES = Aliases(
    [
        Alias("Paris", "Q90", 9, "en"),
        Alias("Paris", "Q167646", 1, "en"),
        Alias("Paris", "Q90", 1, "de"),
        Alias("New York", "Q60"),
        Alias("York", "Q42462"),
    ],
    {"en": {"Q90": "capital of France", "Q167646": "prince of Troy who gave an apple"}},
)
WORDS = ("france", "capital", "troy", "apple", "prince")


def bag(texts: Sequence[str]) -> Tensor:
    """Counts of a few words."""
    return torch.tensor([[float(text.lower().count(word)) for word in WORDS] for text in texts])


def entities(linker: MentionLinker, *texts: str, language: str | None = None) -> list[list[str | None]]:
    linked = linker([LinkedText(str(at), text, language) for at, text in enumerate(texts)])
    return [[link.entity for link in text.mentions] for text in linked]


def test_the_likeliest_entity_is_meant():
    (linked,) = MentionLinker(ALIASES, language="en")([LinkedText("1", "to Paris")])
    candidates = (Candidate("Q90", 0.9, 0.9), Candidate("Q167646", 0.1, 0.1))
    assert linked == LinkedText("1", "to Paris", "en", (Link(3, 8, candidates, "Q90"),))


def test_the_text_around_a_mention_may_decide_otherwise():
    context = Context(bag, described(ALIASES, bag, "en"))
    linker = MentionLinker(ALIASES, language="en", context=context, weight=0.9)
    about = ["prince Paris of Troy", "Paris, capital of France", "Paris"]
    assert entities(linker, *about) == [["Q167646"], ["Q90"], ["Q90"]]
    assert entities(MentionLinker(ALIASES, language="en", context=context, weight=0), *about) == [["Q90"]] * 3
    far = f"prince of Troy {'x' * 300} Paris"
    assert entities(linker, far) == [["Q90"]]


def test_a_score_is_the_weighted_mean_of_prior_and_fit():
    context = Context(bag, lambda names: bag(["france" if name == "Q90" else "apple" for name in names]))
    linker = MentionLinker(ALIASES, language="en", context=context, weight=0.25)
    (linked,) = linker([LinkedText("1", "Paris in France")])
    assert linked.mentions[0].candidates == (Candidate("Q90", 0.9, 0.925), Candidate("Q167646", 0.1, 0.2))


def test_an_entity_without_description_fits_neither_well_nor_badly():
    context = Context(bag, described(ALIASES, bag))
    (linked,) = MentionLinker(ALIASES, context=context)([LinkedText("1", "York, an apple of France")])
    assert linked.mentions[0].candidates == (Candidate("Q42462", 1.0, 0.75),)
    nothing = Aliases([Alias("a", "b")])
    with pytest.raises(UserError, match="an encoder is to read what candidates are described as, but nothing is"):
        described(nothing, bag)


def test_below_the_threshold_a_mention_means_nothing():
    for threshold, meant in ((0.9, "Q90"), (0.91, None)):
        linker = MentionLinker(ALIASES, language="en", threshold=threshold)
        assert entities(linker, "Paris") == [[meant]]
    (linked,) = MentionLinker(ALIASES, language="en", threshold=0.91)([LinkedText("1", "Paris")])
    assert len(linked.mentions[0].candidates) == 2


def test_a_text_is_read_in_its_own_language():
    linker = MentionLinker(ALIASES, language="en")
    assert entities(linker, "Paris, New York", language="zh") == [["Q60"]]
    mixed = linker([LinkedText("1", "Paris", "de"), LinkedText("2", "Paris"), LinkedText("3", "Paris", "zh")])
    assert [[len(link.candidates) for link in text.mentions] for text in mixed] == [[1], [2], []]
    assert [text.language for text in mixed] == ["de", "en", "zh"]


def test_the_longest_mention_counts_or_all():
    assert entities(MentionLinker(ALIASES), "New York") == [["Q60"]]
    assert entities(MentionLinker(ALIASES, overlaps=True), "New York") == [["Q60", "Q42462"]]


def test_equally_likely_entities_are_decided_by_their_names():
    names = ["Q9", "Q10", "Q1"]
    orders = (names, names[::-1], names[1:] + names[:1])
    assert {entities(MentionLinker(Aliases([Alias("a", one) for one in order])), "a")[0][0] for order in orders} == {
        "Q1"
    }
    assert (
        len(
            MentionLinker(Aliases([Alias("a", one) for one in names]), most=2)([LinkedText("1", "a")])[0].mentions[0][2]
        )
        == 2
    )


def test_a_stream_is_linked_like_a_list(monkeypatch):
    monkeypatch.setattr("mm_kptm.knowledge.linking.linker._AT_ONCE", 20)
    texts = [LinkedText(str(at), "Paris " * at, ("de", "en", None)[at % 3]) for at in range(12)]
    linker = MentionLinker(ALIASES)
    assert list(linker.stream(iter(texts))) == linker(texts)
    assert list(linker.stream([])) == linker([]) == []
    endless = linker.stream(repeat(LinkedText("1", "Paris")))
    assert next(endless) == linker([LinkedText("1", "Paris")])[0]


def test_settings_out_of_range_are_refused():
    with pytest.raises(UserError, match=r"the threshold of linking is 1.5, but scores lie between 0 and 1"):
        MentionLinker(ALIASES, threshold=1.5)
    with pytest.raises(UserError, match="the weight of linking is -1, but scores lie between 0 and 1"):
        MentionLinker(ALIASES, weight=-1)
    with pytest.raises(UserError, match="a mention was to have 0 candidates, but needs one at least"):
        MentionLinker(ALIASES, most=0)
