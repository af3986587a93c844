from typing import Any

import pytest
import torch

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.errors import UserError
from mm_kptm.knowledge.embedding.entity_table import EntityTable
from mm_kptm.knowledge.objectives.entity_denoising import Denoising, EntityDenoising
from mm_kptm.systems.system import System

SMALL: dict[str, Any] = {"dim": 16, "num_heads": 2, "num_layers": 2, "ffn_dim": 24, "vocab_size": 40, "entity_dim": 8}
TABLE = EntityTable({"a": 0}, torch.randn(50, 8, generator=torch.Generator().manual_seed(3)))
GRID = [[-1, 4, -1, 9, -1], [-1, 9, 30, -1], [-1, -1, -1]]


def batch() -> Inputs:
    return TABLE.inputs([[1, 5, 6, 7, 2], [1, 8, 9, 2], [1, 3, 2]], GRID)


def prepare(seed: int = 0, **shares: float) -> Denoising:
    return EntityDenoising(**shares).prepare(batch(), torch.Generator().manual_seed(seed))


def small(seed: int = 0) -> System:
    return mm_kptm.build("ernie_thu", seed=seed, entity_heads=2, **SMALL)


def test_every_entity_is_to_be_found_among_those_of_the_batch() -> None:
    made = prepare()
    assert made.rows.tolist() == [1, 3, 6, 7]
    assert made.sequence_ids.tolist() == [0, 0, 1, 1]
    assert torch.equal(made.candidates[1:], TABLE.vectors[[4, 9, 30]])
    assert not made.candidates[0].any()
    assert made.labels.tolist() == [1, 2, 2, 3]


def test_shares_are_as_told() -> None:
    numbers = torch.arange(4000) % 50
    ids = [[1, *[5] * 40]] * 100
    grid = [[-1, *numbers[40 * row : 40 * row + 40].tolist()] for row in range(100)]
    made = EntityDenoising().prepare(TABLE.inputs(ids, grid), torch.Generator().manual_seed(1))
    entities = made.inputs.entities
    assert entities is not None
    assert entities.ids is not None
    given = entities.ids[made.rows]
    dropped = given == -1
    swapped = ~dropped & (given != made.labels - 1)
    assert 0.13 < dropped.float().mean() < 0.17
    assert 0.04 < swapped.float().mean() < 0.06
    assert torch.equal(entities.linked[made.rows], ~dropped)
    assert torch.equal(entities.vectors[made.rows][~dropped], TABLE.vectors[given[~dropped]])
    assert not entities.vectors[made.rows][dropped].any()


def test_the_same_seed_makes_the_same_puzzle_and_leaves_the_batch_alone() -> None:
    given, untouched = batch(), batch()
    first, second = (
        EntityDenoising(random_share=0.5).prepare(given, torch.Generator().manual_seed(5)) for _ in range(2)
    )
    for made in (first, second):
        assert made.inputs.entities is not None
    assert torch.equal(first.inputs.entities.vectors, second.inputs.entities.vectors)  # type: ignore[union-attr]
    assert given.entities is not None
    assert untouched.entities is not None
    assert torch.equal(given.entities.vectors, untouched.entities.vectors)
    assert torch.equal(given.entities.linked, untouched.entities.linked)


def test_dropping_all_leaves_no_entities() -> None:
    system, made = small(), prepare(drop_share=1.0, random_share=0.0)
    with torch.no_grad():
        assert torch.equal(system(made.inputs).text, system(made.inputs.with_streams(entities=None)).text)


def test_an_untrained_objective_is_uniform() -> None:
    system = small()
    with torch.no_grad():
        system.head("entity-denoising").transform.norm.weight.zero_()  # type: ignore[union-attr]
    torch.testing.assert_close(EntityDenoising().loss(system, prepare()), torch.tensor(4.0).log())


def test_examples_are_measured_apart() -> None:
    system, made = small(), prepare()
    objective = EntityDenoising()
    losses, measured = objective.losses(system, made), objective.measure(system, made)
    torch.testing.assert_close(measured[:2], torch.stack([losses[:2].mean(), losses[2:].mean()]))
    torch.testing.assert_close(measured[2], losses.mean())  # it has no entity
    torch.testing.assert_close(objective.loss(system, made), losses.mean())


def test_a_batch_without_entities_has_no_loss_and_a_gradient() -> None:
    made = EntityDenoising().prepare(TABLE.inputs([[1, 5, 2]], [[-1, -1, -1]]), torch.Generator())
    loss = EntityDenoising().loss(small(), made)
    loss.backward()
    assert loss == 0


def test_entities_are_found_again_after_training() -> None:
    torch.manual_seed(0)
    system, objective = small(), EntityDenoising()
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(system.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        objective.loss(system, objective.prepare(batch(), generator)).backward()
        optimizer.step()
    with torch.no_grad():
        assert objective.loss(system, prepare(drop_share=0.0, random_share=0.0)) < 0.1


def test_what_cannot_be_corrupted_is_said() -> None:
    with pytest.raises(UserError, match="entity-denoising corrupts the entities of a text, but the inputs have no ent"):
        EntityDenoising().prepare(Inputs(text=Tokens.of([[1, 2]])), torch.Generator())
    with pytest.raises(UserError, match=r"random \(0.5\) and dropped \(0.6\) entities must lie between 0 and 1"):
        EntityDenoising(random_share=0.5, drop_share=0.6)
