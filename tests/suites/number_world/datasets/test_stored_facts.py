"""Facts that are learnt: what is stated, in which form, and what cannot be."""

from __future__ import annotations

import pytest
import torch

from mm_kptm.batch import Inputs, Tokens
from mm_kptm.errors import UserError
from mm_kptm.random_streams import RandomStream
from mm_kptm.suites.number_world.datasets.stored_facts import Stated, completion, embedding, stated
from mm_kptm.suites.number_world.generator.facts import RANGES, draw_fixed
from mm_kptm.suites.number_world.generator.language import vocabulary

FIXED = draw_fixed(RandomStream(0), numbers=20).of("train")
SHOWN = Inputs(text=Tokens.of([[0]] * 400))


def test_one_graph_has_one_object_for_every_number_and_many_worlds_have_several(worlds):
    facts = stated(FIXED, ("owner", "guild"), "true", RandomStream(0))
    assert facts == tuple(
        Stated(number, relation, FIXED[0].object(number, relation))
        for relation in ("owner", "guild")
        for number in range(20)
    )
    many = stated(worlds.of("train"), ("owner",), "true", RandomStream(0))
    assert len(many) == len(set(many)) > 10 * 20


def test_random_facts_have_objects_of_the_right_kind_that_are_mostly_not_the_true_ones():
    true, blind = (set(stated(FIXED, ("owner",), arm, RandomStream(1))) for arm in ("true", "random"))
    assert {fact.number for fact in blind} == set(range(20))
    assert {fact.object for fact in blind} <= set(RANGES["owner"])
    assert len(true & blind) < 5


@pytest.mark.parametrize("arm", ["swapped", "oracle"])
def test_facts_that_belong_to_a_question_cannot_be_learnt_before_it(arm):
    with pytest.raises(UserError, match=rf"knowledge\.facts is {arm}, but .* none, true, random; .* test-{arm}"):
        stated(FIXED, ("owner",), arm, RandomStream(0))


def test_adapters_are_asked_for_the_object_of_a_fact_in_every_language():
    facts = stated(FIXED, ("owner",), "true", RandomStream(0))
    kept = completion(facts, ("en", "de"))
    batch = kept.objective.prepare(SHOWN, torch.Generator().manual_seed(0))
    objects = list(dict.fromkeys(fact.object for fact in facts))
    spelt = [vocabulary().words[number] for number in batch.texts.text.ids.tolist()]
    asked = list(batch.texts.text.layout.split(torch.arange(len(spelt))))
    said = {(spelt[int(rows[1])], objects[place]) for rows, place in zip(asked, batch.objects.tolist(), strict=True)}
    true = {fact.number: fact.object for fact in facts}
    assert ("seven", true[7]) in said and ("sieben", true[7]) in said
    assert not any(word == "seven" and label != true[7] for word, label in said)
    assert kept.sizes == {"num_objects": len(objects)}


def test_triples_join_the_words_for_a_number_and_for_its_object_in_one_language():
    facts = stated(FIXED, ("owner", "home"), "true", RandomStream(0))
    kept = embedding(facts, ("en", "fr"))
    batch = kept.objective.prepare(SHOWN, torch.Generator().manual_seed(0))
    rows = [rows[1:-1].tolist() for rows in batch.texts.text.layout.split(batch.texts.text.ids)]
    word = {place: " ".join(vocabulary().words[number] for number in ids) for place, ids in enumerate(rows)}
    pairs = {(word[head], word[tail]) for head, tail in zip(batch.heads.tolist(), batch.tails.tolist(), strict=True)}
    home = FIXED[0].object(4, "home").removeprefix("town:")
    assert {tail for head, tail in pairs if head == "four"} <= {home, FIXED[0].object(4, "owner")[7:]}
    assert kept.sizes == {"num_relations": 2}
