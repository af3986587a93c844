"""Steps touch the rows of their batch alone, follow the formulas, and learn what pykeen learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pykeen.models import model_resolver
from pykeen.triples import CoreTriplesFactory
from torch.utils._python_dispatch import TorchDispatchMode

from mm_kptm.errors import UserError
from mm_kptm.knowledge.embedding.embeddings import load_embeddings, save_embeddings
from mm_kptm.knowledge.embedding.geometries import GEOMETRIES
from mm_kptm.knowledge.embedding.row_tables import RowAdagrad, RowAdam
from mm_kptm.knowledge.embedding.scoring import SCORES
from mm_kptm.knowledge.embedding.shared_negatives import SharedNegatives, SharedNegativesTraining
from mm_kptm.knowledge.embedding.training import EmbeddingSettings, evaluate_embeddings, train_embeddings
from mm_kptm.knowledge.graph.splits import open_splits

TRIPLES = torch.tensor([[0, 0, 1], [2, 1, 3], [1, 0, 4], [5, 1, 0], [3, 0, 2]])


def settings(model: str = "transe", **more: object) -> SharedNegatives:
    given = {"dim": 6, "batch_size": 5, "block": 2, "negatives": 3, "epochs": 1, "lr": 0.1}
    return SharedNegatives(model=model, **{**given, **more})


class Largest(TorchDispatchMode):
    """The numbers of the largest tensor that an operation makes; what it writes in place is not made."""

    numel = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        made = function(*arguments, **(options or {}))
        given = {value.data_ptr() for value in arguments if isinstance(value, torch.Tensor)}
        for value in made if isinstance(made, tuple | list) else [made]:
            if isinstance(value, torch.Tensor) and value.data_ptr() not in given:
                self.numel = max(self.numel, value.numel())
        return made


@pytest.mark.parametrize("optimizer", ["adam", "adagrad"])
@pytest.mark.parametrize("model", GEOMETRIES)
def test_a_step_touches_the_rows_of_its_batch_alone(model: str, optimizer: str) -> None:
    largest = {}
    for entities in (1000, 2000, 4000, 8000):
        training = SharedNegativesTraining(TRIPLES, entities, 500, settings(model, optimizer=optimizer))
        before, relations = training.entities.clone(), training.relations.clone()
        with Largest() as made:
            training.step(TRIPLES)
        largest[entities] = made.numel
        changed = (training.entities != before).any(1).nonzero().flatten()
        assert set(range(6)) <= set(changed.tolist()) and len(changed) <= 6 + 3 * 3, "three blocks of three negatives"
        assert (training.relations != relations).any(1).nonzero().flatten().tolist() == [0, 1]
    assert len(set(largest.values())) == 1 and largest[8000] < 1000, "no slope over three doublings"


@pytest.mark.parametrize("model", GEOMETRIES)
@pytest.mark.parametrize("corrupt_tails", [True, False])
def test_scores_against_queries_are_those_of_the_model(model: str, corrupt_tails: bool) -> None:
    geometry, generator = GEOMETRIES[model](), torch.Generator().manual_seed(0)
    entities, relations = (torch.randn(rows, 4 * geometry.width, generator=generator) for rows in (6, 2))
    relations = geometry.constrain_relations(relations)
    heads, kinds, tails = TRIPLES.T
    if corrupt_tails:
        queries, answers = geometry.tail_query(entities[heads], relations[kinds]), tails
    else:
        queries, answers = geometry.head_query(relations[kinds], entities[tails]), heads
    tables = [table.unflatten(-1, (-1, 2)) if geometry.width > 1 else table for table in (entities, relations)]
    scorer = SCORES[model](*map(torch.view_as_complex, tables)) if geometry.width > 1 else SCORES[model](*tables)
    every = scorer.tails(heads, kinds) if corrupt_tails else torch.cat(
        [scorer.heads(kind[None], tail[None]) for kind, tail in zip(kinds, tails, strict=True)]
    )  # fmt: skip
    torch.testing.assert_close(geometry.scores(queries[None], entities[None])[0], every)
    torch.testing.assert_close(geometry.score(queries, entities[answers]), every[torch.arange(5), answers])


def test_the_loss_is_that_of_rotate() -> None:
    """Sun et al. 2019, eq. 5, written out for one block, and Adam's first step: the sign of the gradient."""
    training = SharedNegativesTraining(TRIPLES, 6, 2, settings("rotate", block=5, margin=2.0, temperature=0.5))
    entities, relations = (table.clone().requires_grad_() for table in (training.entities, training.relations))
    generator = torch.Generator().manual_seed(0)
    generator.set_state(training._generator.get_state())
    asked = (5 + int(torch.randint(2, (), generator=generator))) // 2  # of so many the head
    negatives = torch.randint(6, (3,), generator=generator)
    e, r = (torch.view_as_complex(table.unflatten(-1, (-1, 2))) for table in (entities, relations))
    heads, kinds, tails = TRIPLES.T
    true = torch.view_as_real(e[heads] * r[kinds] - e[tails]).flatten(1).norm(dim=1)
    with_heads = e[negatives] * r[kinds[:asked], None] - e[tails[:asked], None]
    with_tails = (e[heads] * r[kinds])[asked:, None] - e[negatives]
    false = torch.view_as_real(torch.cat([with_heads, with_tails])).flatten(2).norm(dim=2)
    answers = torch.cat([heads[:asked], tails[asked:]])
    false = false.masked_fill(answers[:, None] == negatives, 1e4)  # no negatives, but answers
    assert (answers[:, None] == negatives).any()
    weights = (-false.detach() * 0.5).softmax(1)
    expected = (-F.logsigmoid(2 - true) - (weights * F.logsigmoid(false - 2)).sum(1)).mean() / 2
    assert torch.allclose(training.step(TRIPLES), expected)
    (gradient,) = torch.autograd.grad(expected, entities)
    moved = gradient.abs() > 1e-4
    torch.testing.assert_close(training.entities[moved], (entities - 0.1 * gradient.sign())[moved], rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("model", "loss"), [("transe", "nssa"), ("rotate", "nssa"), ("complex", "softplus"), ("distmult", "crossentropy")]
)
def test_the_loss_of_a_batch_is_that_of_pykeen(model: str, loss: str) -> None:
    """Of the same vectors and negatives, regularised as pykeen does: by what the scores of all triples read."""
    training = SharedNegativesTraining(TRIPLES, 50, 2, settings(model, block=5, loss=loss))
    factory = CoreTriplesFactory.create(TRIPLES, num_entities=50, num_relations=2)
    of_loss = {"margin": 6.0, "adversarial_temperature": 1.0} if loss == "nssa" else {}
    peer = model_resolver.make(
        model, {"embedding_dim": 6, "loss": loss, "loss_kwargs": of_loss}, triples_factory=factory
    ).train()
    tables = [training.entities, training.relations]
    for table, theirs in zip(tables, (peer.entity_representations, peer.relation_representations), strict=True):
        theirs[0]._embeddings.weight.data.copy_(table)
    negatives, asked = torch.tensor([40, 41, 42]), 2
    corrupted = TRIPLES[:, None].repeat(1, 3, 1)
    corrupted[:asked, :, 0] = corrupted[asked:, :, 2] = negatives
    scores = [peer.score_hrt(triples) for triples in (TRIPLES, corrupted.flatten(0, 1))]
    expected = peer.loss.process_slcwa_scores(scores[0], scores[1].view(5, 3)) + peer.collect_regularization_term()
    torch.testing.assert_close(training._loss(*tables, TRIPLES, negatives[None], asked), expected.squeeze())


def test_optimizers_of_rows_are_those_of_torch_where_every_row_is_touched() -> None:
    def zeros(name: str, width: int) -> torch.Tensor:
        return torch.zeros(4, width)

    generator = torch.Generator().manual_seed(0)
    table = torch.randn(4, 3, generator=generator)
    weights = table.clone().requires_grad_()
    adam, peer = RowAdam(zeros, 3, 0.1), torch.optim.Adam([weights], lr=0.1)
    for _ in range(5):
        gradient = torch.randn(4, 3, generator=generator)
        table = adam.step(torch.arange(4), table, gradient)
        weights.grad = gradient
        peer.step()
    torch.testing.assert_close(table, weights.detach())
    narrow = torch.zeros(4, 1)
    weights = narrow.clone().requires_grad_()
    adagrad, other = RowAdagrad(zeros, 1, 0.1), torch.optim.Adagrad([weights], lr=0.1)
    for _ in range(5):  # of one number, the mean of the squares is the square
        gradient = torch.randn(4, 1, generator=generator)
        narrow = adagrad.step(torch.arange(4), narrow, gradient)
        weights.grad = gradient
        other.step()
    torch.testing.assert_close(narrow, weights.detach())


def test_vectors_start_as_those_of_pykeen() -> None:
    """The same distributions: bounds of uniform values, lengths, moduli and moments."""
    factory = CoreTriplesFactory.create(TRIPLES, num_entities=4000, num_relations=4000)
    for name, geometry in GEOMETRIES.items():
        started = [torch.empty(4000, 8 * geometry.width) for _ in range(2)]
        for rows, draw in zip(started, (geometry().draw_entities, geometry().draw_relations), strict=True):
            draw(rows, torch.Generator().manual_seed(0))
        started = [geometry().constrain_entities(started[0]), geometry().constrain_relations(started[1])]
        torch.manual_seed(0)
        peer = model_resolver.make(name, {"embedding_dim": 8}, triples_factory=factory)
        for ours, theirs in zip(started, (peer.entity_representations, peer.relation_representations), strict=True):
            values = theirs[0]._embeddings.weight.detach()
            for moment in (1, 2, 4):
                torch.testing.assert_close((ours**moment).mean(), (values**moment).mean(), rtol=0.03, atol=0.01)
            assert ours.abs().max() == pytest.approx(float(values.abs().max()), rel=0.15)
            torch.testing.assert_close(ours.norm(dim=1).std(), values.norm(dim=1).std(), rtol=0.1, atol=1e-4)


@pytest.mark.parametrize("loss", ["nssa", "softplus", "crossentropy"])
def test_an_answer_among_the_negatives_counts_for_nothing(loss: str) -> None:
    """Of one block whose negatives are all drawn from two entities, the loss is that of the others alone."""
    triples = torch.tensor([[0, 0, 1]])
    training = SharedNegativesTraining(triples, 2, 1, settings("rotate", loss=loss, negatives=50))
    entities, relations = (table.clone().requires_grad_() for table in (training.entities, training.relations))
    batch = torch.tensor([[0, 0, 1]])
    both = training._loss(entities, relations, batch, torch.tensor([[0, 1, 1, 1]]), 0)
    alone = training._loss(entities, relations, batch, torch.tensor([[0]]), 0)
    if loss == "softplus":  # the mean is over all that were drawn
        both = both * 5 / 2
    torch.testing.assert_close(both, alone)
    assert training.step(triples).isfinite()


@pytest.mark.parametrize("optimizer", ["adam", "adagrad"])
def test_mapped_tables_are_trained_as_those_in_memory(optimizer: str, tmp_path: Path) -> None:
    graph = open_splits("pykeen:nations")
    asked = EmbeddingSettings(model="rotate", dim=4, epochs=1, loop="shared", optimizer=optimizer)
    one, other = train_embeddings(graph, asked), train_embeddings(graph, asked, folder=tmp_path / "tables")
    assert torch.equal(one.embeddings.entity_vectors, other.embeddings.entity_vectors)
    assert torch.equal(one.embeddings.relation_vectors, other.embeddings.relation_vectors)
    stored = np.load(tmp_path / "tables" / "entities.npy", mmap_mode="r")
    assert np.array_equal(stored, torch.view_as_real(other.embeddings.entity_vectors).flatten(1).numpy())
    save_embeddings(other.embeddings, tmp_path / "saved")
    assert torch.equal(load_embeddings(tmp_path / "saved").entity_vectors, one.embeddings.entity_vectors)


def test_the_loops_of_pykeen_know_no_mapped_files(tmp_path: Path) -> None:
    graph = open_splits("pykeen:nations")
    with pytest.raises(UserError, match=r"in mapped files, which pykeen.s loop slcwa does not know; train with"):
        train_embeddings(graph, EmbeddingSettings(epochs=1), folder=tmp_path)
    with pytest.raises(
        UserError, match=r"vectors in mapped files are trained on the CPU, not on cuda; leave one of th"
    ):
        train_embeddings(graph, EmbeddingSettings(epochs=1, loop="shared"), folder=tmp_path, device="cuda")


@pytest.mark.parametrize("model", ["transe", "distmult"])
def test_a_small_graph_is_learnt_as_well_as_by_pykeen(model: str) -> None:
    """MRR on Nations after 15 epochs; the table of docs/knowledge.md has more graphs and seeds."""
    graph = open_splits("pykeen:nations")
    mrr = {}
    for loop in ("slcwa", "shared"):
        asked = EmbeddingSettings(model=model, dim=16, epochs=15, loop=loop, loss="nssa", seed=1)
        trained = train_embeddings(graph, asked)
        mrr[loop] = evaluate_embeddings(trained.scorer, graph)["test"]["mrr"]
        assert trained.losses[-1] < 0.95 * trained.losses[0]
    assert mrr["shared"] > mrr["slcwa"] - 0.05 and mrr["shared"] > 0.3


def test_the_same_seed_gives_the_same_vectors() -> None:
    graph = open_splits("pykeen:nations")
    asked = EmbeddingSettings(model="rotate", dim=4, epochs=1, loop="shared", optimizer="adagrad")
    one, other = (train_embeddings(graph, asked).embeddings for _ in range(2))
    assert torch.equal(one.entity_vectors, other.entity_vectors) and one.entity_vectors.is_complex()
    assert (one.settings["loop"], one.settings["loss"], one.settings["optimizer"]) == ("shared", "nssa", "adagrad")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"model": "conve", "loop": "shared"}, "negatives are shared with the model transe, rotate, distmult, complex"),
        (
            {"loop": "shared", "loss": "mse"},
            "negatives are shared with the loss nssa, softplus, crossentropy, not with 'mse'",
        ),
        ({"loop": "shared", "optimizer": "sgd"}, "shared with the optimizer adam, adagrad, not with 'sgd'"),
        ({"optimizer": "adagrad"}, "pykeen's loops train with adam here, not adagrad; that goes with the loop shared"),
    ],
)
def test_what_it_cannot_train_is_said(given: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        EmbeddingSettings(**given)
