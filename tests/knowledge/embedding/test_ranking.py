from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from mm_kptm.errors import UserError
from mm_kptm.knowledge.embedding import ranking
from mm_kptm.knowledge.embedding.ranking import BLOCK, Ranks, _Queries, measures, memory_block, rank
from mm_kptm.knowledge.embedding.scoring import SCORES, ComplEx, DistMult, RotatE, TransE, score_of

ENTITIES, RELATIONS, DIM = 11, 3, 4


class Table:
    """Scores that are written down: one of every head, relation and tail. Counts the queries it is asked."""

    def __init__(self, scores: Tensor) -> None:
        self.scores = scores  # [N, R, N]
        self.asked: list[int] = []

    device = torch.device("cpu")
    num_entities = property(lambda self: self.scores.shape[0])
    num_relations = property(lambda self: self.scores.shape[1])

    def tails(self, heads: Tensor, relations: Tensor) -> Tensor:
        self.asked.append(len(heads))
        return self.scores[heads, relations].clone()

    def heads(self, relations: Tensor, tails: Tensor) -> Tensor:
        self.asked.append(len(tails))
        return self.scores[:, relations, tails].T.clone()


def tied_scores(generator: torch.Generator) -> Table:
    return Table(torch.randint(4, (ENTITIES, RELATIONS, ENTITIES), generator=generator).float())


def drawn(count: int, generator: torch.Generator) -> Tensor:
    whole = torch.tensor(list(product(range(ENTITIES), range(RELATIONS), range(ENTITIES))))
    return whole[torch.randperm(len(whole), generator=generator)[:count]]


def straight(table: Table, triples: Tensor, known: Tensor) -> list[Ranks]:
    """The definition, word by word."""
    true = {tuple(triple) for triple in known.tolist()}
    sides = []
    for side in (0, 2):
        rows = []
        for triple in triples.tolist():
            own = table.scores[tuple(triple)]
            left = []
            for entity in range(ENTITIES):
                other = [*triple]
                other[side] = entity
                if entity == triple[side] or tuple(other) not in true:
                    left.append(float(table.scores[tuple(other)]))
            rows.append((1 + sum(s > own for s in left), sum(s >= own for s in left), len(left)))
        sides.append(Ranks(*torch.tensor(rows).T))
    return sides


@pytest.mark.parametrize("block", [1, 200, 2**20])
def test_ranks_are_those_of_the_definition_whatever_the_block(block: int) -> None:
    generator = torch.Generator().manual_seed(0)
    table, triples = tied_scores(generator), drawn(90, generator)
    known = torch.cat([triples[:60], drawn(80, generator)])  # not all ranked triples are known
    ours, truth = rank(table, triples, known, block=block), straight(table, triples, known)
    for mine, theirs in zip((ours.heads, ours.tails), truth, strict=True):
        assert mine.optimistic.tolist() == theirs.optimistic.tolist()
        assert mine.pessimistic.tolist() == theirs.pessimistic.tolist()
        assert mine.candidates.tolist() == theirs.candidates.tolist()


def test_ranks_do_not_depend_on_how_they_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    table, triples = tied_scores(generator), drawn(90, generator)
    quick = rank(table, triples, triples[:60]).both
    monkeypatch.setattr("mm_kptm.knowledge.embedding.ranking._EXACT", 1)
    slow = rank(table, triples, triples[:60]).both
    table.scores = table.scores.half()
    for other in (slow, rank(table, triples, triples[:60]).both):
        assert torch.equal(
            torch.stack([other.optimistic, other.pessimistic]), torch.stack([quick.optimistic, quick.pessimistic])
        )


@pytest.mark.filterwarnings("error")
def test_ranking_leaves_no_graph_behind_vectors_that_learn() -> None:
    entities, relations = torch.randn(9, 20), torch.randn(2, 20)
    triples = torch.tensor([[0, 0, 1], [2, 1, 3]])
    fixed = rank(TransE(entities, relations), triples, triples).both
    learning = rank(TransE(entities.requires_grad_(), relations.requires_grad_()), triples, triples).both
    assert torch.equal(learning.optimistic, fixed.optimistic)


def test_many_entities_are_told_apart() -> None:
    """A query and its answer are one number here, which no 32 bits hold."""
    entities = torch.arange(40_000.0)[:, None]
    triples = torch.tensor([[39_990, 1, 39_999], [3, 0, 39_998], [39_999, 1, 0]])
    ranks = rank(TransE(entities, torch.tensor([[0.0], [4.0]])), triples, triples[:1])

    assert ranks.tails.pessimistic.tolist() == [11, 39_999, 40_000]


def test_any_number_of_entities_is_ranked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A query and its answer are sorted as two numbers where one does not hold both: the same ranks."""
    last = 2**40 - 1
    triples = np.array([[0, last, 7], [0, 1, 1], [last, 3, 2]])  # as columns
    queries = _Queries.of(triples, np.concatenate([triples, triples[:, :1], [[0], [1], [9]]], 1), 2**40, 2)
    assert queries.keys.tolist() == [last, 2**40 + 2, 2**40 + 3, 2 * 2**40, 3 * 2**40 + 7, 3 * 2**40 + last]
    assert queries.known.tolist() == [0, 7, last, last, 2, 3] and queries.starts.tolist() == [0, 1, 2, 3, 4, 5, 6]

    generator = torch.Generator().manual_seed(0)
    table, triples = tied_scores(generator), drawn(90, generator)
    known = torch.cat([triples[:60], triples[:9], drawn(80, generator)])
    expected = rank(table, triples, known).both
    monkeypatch.setattr("mm_kptm.knowledge.embedding.ranking._LARGEST", 0)
    found = rank(table, triples, known).both
    for name in ("optimistic", "pessimistic", "candidates"):
        assert torch.equal(getattr(found, name), getattr(expected, name))


def test_a_block_fits_the_free_memory_of_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    assert memory_block(torch.device("cpu")) == BLOCK
    module = SimpleNamespace(mem_get_info=lambda device: (80 << 30, 140 << 30))
    monkeypatch.setattr(torch, "get_device_module", lambda device: module)
    assert memory_block(torch.device("cuda", 1)) == 20 << 30


def test_a_query_is_scored_once_and_in_blocks() -> None:
    table = tied_scores(torch.Generator().manual_seed(0))
    triples = torch.tensor([[head, 1, tail] for head in range(5) for tail in range(ENTITIES)])
    rank(table, triples, triples, block=4 * ENTITIES * 2)
    assert sum(table.asked) == 5 + ENTITIES
    assert max(table.asked) == 2


def test_scores_that_say_nothing_earn_the_middle() -> None:
    table = Table(torch.zeros(ENTITIES, 1, ENTITIES))
    both = rank(table, torch.tensor([[0, 0, 1]]), torch.empty(0, 3, dtype=torch.long)).both
    assert both.optimistic.tolist() == [1, 1]
    assert both.pessimistic.tolist() == [ENTITIES, ENTITIES]
    found = measures(both)
    assert found["mean_rank"] == (ENTITIES + 1) / 2
    assert found["adjusted_mean_rank_index"] == 0
    assert found["hits@5"] == 0 and found["hits@10"] == 1


def test_perfect_ranks_measure_one() -> None:
    one = torch.ones(3)
    found = measures(Ranks(one, one, 5 * one))
    assert (found["mrr"], found["hits@1"], found["adjusted_mean_rank_index"]) == (1, 1, 1)


@pytest.mark.parametrize("score", [TransE, DistMult, ComplEx, RotatE])
def test_every_score_agrees_with_pykeen_on_vectors_at_random(score: type) -> None:
    from pykeen.nn.modules import ComplExInteraction, DistMultInteraction, RotatEInteraction, TransEInteraction

    theirs = {
        TransE: TransEInteraction(p=1),
        DistMult: DistMultInteraction(),
        ComplEx: ComplExInteraction(),
        RotatE: RotatEInteraction(),
    }[score]
    torch.manual_seed(0)
    dtype = torch.complex64 if score.complex else torch.float32
    steps = torch.randn(RELATIONS, DIM, dtype=dtype)
    # pykeen turns the tail back where that is cheaper, which is the same for true turns only
    ours = score(torch.randn(ENTITIES, DIM, dtype=dtype), steps / steps.abs() if score is RotatE else steps)
    heads, relations, tails = drawn(20, torch.Generator().manual_seed(1)).T
    h, r, every = ours.entity[heads], ours.relation[relations], ours.entity
    torch.testing.assert_close(ours.tails(heads, relations), theirs(h[:, None], r[:, None], every[None]))
    torch.testing.assert_close(ours.heads(relations, tails), theirs(every[None], r[:, None], every[tails][:, None]))
    torch.testing.assert_close(ours.triples(heads, relations, tails), theirs(h, r, every[tails]))


def test_equal_vectors_tie_under_every_norm() -> None:
    """A matrix product in their place would tell some of them apart by rounding."""
    entities = torch.randn(1, 64, generator=torch.Generator().manual_seed(0)).repeat(135, 1)
    for norm in (1, 2):
        found = rank(
            TransE(entities, torch.randn(1, 64), norm=norm), torch.tensor([[0, 0, 77]]), torch.tensor([[0, 0, 77]])
        )
        assert found.both.optimistic.tolist() == [1, 1]
        assert found.both.pessimistic.tolist() == [135, 135]


def test_what_cannot_be_ranked_is_named() -> None:
    table = tied_scores(torch.Generator().manual_seed(0))
    some = torch.tensor([[0, 0, 1]])
    with pytest.raises(UserError, match=r"known triples have entities 0 to 11, but there are vectors of 11, from 0 on"):
        rank(table, some, torch.tensor([[0, 0, 11]]))
    with pytest.raises(UserError, match=r"ranked triples have relations 3 to 3, but there are vectors of 3, from 0 on"):
        rank(table, torch.tensor([[0, 3, 1]]), some)
    with pytest.raises(UserError, match=r"there is no triple to rank"):
        rank(table, some[:0], some)
    with pytest.raises(UserError, match=r"ranked triples are whole numbers, three a row, not torch.float32 \[1, 3\]"):
        rank(table, some.float(), some)
    table.scores[0, 0, 5] = torch.nan
    with pytest.raises(UserError, match="a score is no finite number, and cannot be ranked; look at the embeddings"):
        rank(table, some, some)


def test_tables_that_fit_no_score_are_named() -> None:
    real, twisted = torch.zeros(5, 4), torch.zeros(5, 4, dtype=torch.complex64)
    with pytest.raises(UserError, match=r"RotatE scores complex vectors, one a row, but the entities are torch.float"):
        RotatE(real, real)
    with pytest.raises(UserError, match=r"DistMult scores real vectors, one a row, but the relations are torch.compl"):
        DistMult(real, twisted)
    with pytest.raises(UserError, match=r"entities have vectors of 4 and relations of 3; TransE needs equal sizes"):
        TransE(real, real[:, :3])
    with pytest.raises(UserError, match=r"TransE measures distance with norm 1 or 2, not 3"):
        TransE(real, real, norm=3)
    with pytest.raises(UserError, match=r"the vectors of the entities hold values that are no finite numbers"):
        DistMult(real / 0, real)
    with pytest.raises(UserError, match=r"no score is called 'transf'; did you mean transe\?"):
        score_of("transf")
    assert score_of("RotatE") is SCORES["rotate"]


def test_a_block_has_the_size_that_suits_the_device_of_the_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the triples are; the numbers of the queries go there, and ranks come back to the host."""
    asked = []
    monkeypatch.setattr(ranking, "memory_block", lambda device: asked.append(device) or 64)
    vectors = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    scorer = TransE(vectors, vectors[:1]).to("cpu")
    triples = torch.tensor([[0, 0, 1], [2, 0, 3]])
    ranks = rank(scorer, triples, triples).both
    assert asked == [torch.device("cpu")] and ranks.optimistic.device.type == "cpu"
    assert torch.equal(ranks.optimistic, rank(scorer, triples, triples, block=1 << 20).both.optimistic)
