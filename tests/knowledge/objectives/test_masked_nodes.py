import random
from dataclasses import replace

import pytest
import torch

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.data.masking.static import Treatment
from mm_kptm.errors import UserError
from mm_kptm.knowledge.injection.word_graph import ENTITY, WordGraph, tokens_of_graphs
from mm_kptm.knowledge.objectives.masked_nodes import (
    HEADS,
    HiddenNodes,
    MaskedNodes,
    frequencies,
    hide_nodes,
    places_among,
    released_masking,
)
from mm_kptm.systems.system import System

NAMES = {f"Q{number}": number for number in range(40)} | {f"P{number}": number for number in range(9)}
GRAPH = WordGraph(
    words=(0, *range(10, 24), 2),
    entities=("Q5", "Q6", "Q7", "Q8"),
    relations=("P3", "P4"),
    positions=(0, *range(3, 17), 17, 1, 2, 3, 3, 2, 2),
    mentioned=(True, True, False, False),
    ties=((0, 2), (0, 3)),
)
PLAIN = WordGraph((0, 11, 2), ("Q9",), (), (0, 1, 3, 2), (True,), ())
WORDS = released_masking(29, 30, {0, 1, 2, 3})
ENTITIES, RELATIONS = released_masking(2, 40, {0, 1}), released_masking(2, 9, {0, 1})
OBJECTIVE = MaskedNodes(WORDS, ENTITIES, RELATIONS, torch.ones(40), num_negatives=3)


def inputs(*graphs: WordGraph) -> Inputs:
    return Inputs(text=tokens_of_graphs(graphs, NAMES, NAMES))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def system() -> System:
    sizes = {"dim": 8, "num_heads": 2, "num_layers": 2, "ffn_dim": 12, "vocab_size": 30, "max_positions": 20}
    return mm_kptm.build("colake", seed=0, num_entities=40, num_relations=9, **sizes)


def test_every_kind_has_its_quota_and_its_own_ids() -> None:
    given = inputs(GRAPH, PLAIN)
    batch = OBJECTIVE.prepare(given, seeded())
    assert torch.bincount(batch.words.sequence_ids).tolist() == [2, 1]
    assert batch.relations.sequence_ids.tolist() == [0]
    assert given.text is not None and batch.inputs.text is not None
    for kind, (part, size) in enumerate(((batch.words, 30), (batch.entities, 40), (batch.relations, 9))):
        assert (given.text.segments[part.rows] == kind).all() and (batch.inputs.text.ids[part.rows] < size).all()
    kept = torch.ones(given.text.rows, dtype=torch.bool)
    kept[torch.cat([batch.words.rows, batch.entities.rows, batch.relations.rows])] = False
    assert torch.equal(batch.inputs.text.ids[kept], given.text.ids[kept])


def test_every_mention_is_sought_and_most_stay_in_sight() -> None:
    text = inputs(*[GRAPH] * 300)
    batch = OBJECTIVE.prepare(text, seeded())
    assert batch.inputs.text is not None and text.text is not None
    before, after = text.text.ids[batch.entities.rows], batch.inputs.text.ids[batch.entities.rows]
    mentions = before <= 6
    assert int(mentions.sum()) == 600, "both of every graph"
    assert 100 < int((~mentions).sum()) < 200, "others by the quota of one node a graph"
    shown = (before == after)[mentions].float().mean()
    assert 0.5 < shown < 0.75, "a quarter is hidden by the quota, a fifth of the rest besides"


def test_candidates_are_the_sought_ones_then_drawn_ones_each_once() -> None:
    sought = torch.tensor([7, 5, 7])
    candidates = OBJECTIVE.candidates(sought, seeded())
    assert candidates[:2].tolist() == [7, 5] and len(set(candidates.tolist())) == len(candidates) <= 8
    assert places_among(sought, candidates).tolist() == [0, 1, 0]
    rare = MaskedNodes(WORDS, ENTITIES, RELATIONS, torch.eye(40)[3])
    assert rare.candidates(sought, seeded()).tolist() == [7, 5, 3]


def test_frequencies_are_flattened_shares() -> None:
    torch.testing.assert_close(frequencies(torch.tensor([16, 1, 0])), torch.tensor([8 / 9, 1 / 9, 0]))


def test_the_loss_is_the_sum_of_the_means_of_the_kinds(system: System) -> None:
    batch = OBJECTIVE.prepare(inputs(GRAPH, PLAIN), seeded())
    losses = OBJECTIVE.losses(system, batch)
    assert list(losses) == list(HEADS)
    total = sum(values.mean().item() for values in losses.values())
    assert OBJECTIVE.loss(system, batch).item() == pytest.approx(total)


def test_a_batch_without_a_relation_has_a_finite_loss(system: System) -> None:
    batch = OBJECTIVE.prepare(inputs(PLAIN), seeded())
    assert not len(batch.relations.rows) and bool(OBJECTIVE.loss(system, batch).isfinite())


def test_a_batch_without_a_sought_entity_has_a_finite_loss(system: System) -> None:
    graph = replace(PLAIN, entities=("Q0",))
    batch = OBJECTIVE.prepare(inputs(graph), seeded())
    assert not len(batch.entities.rows) and batch.candidates.tolist() == [1]
    assert bool(OBJECTIVE.loss(system, batch).isfinite())


def test_each_graph_is_measured_on_its_own_nodes(system: System) -> None:
    batch = OBJECTIVE.prepare(inputs(GRAPH, GRAPH), seeded())
    losses = list(OBJECTIVE.losses(system, batch).values())
    parts = (batch.words, batch.entities, batch.relations)
    second = sum(own[part.sequence_ids == 1].mean() for own, part in zip(losses, parts, strict=True))
    torch.testing.assert_close(OBJECTIVE.measure(system, batch)[1], second)


def test_the_same_seed_hides_the_same_nodes() -> None:
    first, second = (OBJECTIVE.prepare(inputs(GRAPH, PLAIN), seeded(4)) for _ in range(2))
    assert torch.equal(first.inputs.text.ids, second.inputs.text.ids)  # type: ignore[union-attr]
    assert torch.equal(first.candidates, second.candidates)


def test_a_gradient_reaches_the_entities_that_are_candidates_and_no_others(system: System) -> None:
    batch: HiddenNodes = OBJECTIVE.prepare(inputs(GRAPH), seeded())
    system.zero_grad()
    OBJECTIVE.loss(system, batch).backward()
    touched = system.encoder.embed.text.entity.weight.grad.abs().sum(1).nonzero().squeeze(1)
    text = batch.inputs.text
    assert text is not None
    read = text.ids[text.segments == ENTITY]
    assert set(touched.tolist()) == set(batch.candidates.tolist()) | set(read.tolist())


def test_what_is_no_graph_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"^masked-nodes hides nodes of word-knowledge graphs, but the inputs have no text"
    ):
        OBJECTIVE.prepare(Inputs(), seeded())
    strange = Inputs(text=Tokens.of([[4, 5]], segments=[[0, 3]]))
    with pytest.raises(UserError, match=r"^masked-nodes reads kinds \(0 word, 1 entity, 2 relation\) as segments, but"):
        OBJECTIVE.prepare(strange, seeded())


def test_released_masks_seek_all_mentions_and_follow_from_the_generator() -> None:
    ids = list(range(3, 43))
    masks = [hide_nodes(ids, Treatment(2, range(50)), random.Random(2020), never={3}, mentioned=ids[20:]) for _ in "ab"]
    assert masks[0] == masks[1]
    hidden, stood = masks[0]
    assert set(range(20, 40)) <= set(stood) and 20 < len(stood) <= 26 and 0 not in stood
    assert all(ids[place] == node for place, node in stood.items())
    assert all(hidden[place] == ids[place] for place in range(40) if place not in stood)
