"""Training is pykeen's, bit by bit; ranks are those of its evaluator."""

import gc
import random
from typing import Any

import numpy as np
import pytest
import torch
from pykeen.pipeline import pipeline

from mm_kptm.errors import UserError
from mm_kptm.knowledge.embedding.training import EmbeddingSettings, evaluate_embeddings, train_embeddings
from mm_kptm.knowledge.graph.splits import SplitGraph, open_splits

CONTRAST: dict[str, Any] = {
    "training_loop": "slcwa",
    "negative_sampler_kwargs": {"num_negs_per_pos": 32},
    "loss": "nssa",
    "loss_kwargs": {"margin": 6.0, "adversarial_temperature": 1.0},
}
pytestmark = pytest.mark.filterwarnings("ignore:.*pin_memory")
CHOICE: dict[str, Any] = {"training_loop": "lcwa", "loss": "crossentropy"}
LOGISTIC: dict[str, Any] = {**CONTRAST, "loss": "softplus", "loss_kwargs": {}}


@pytest.fixture(scope="module")
def nations() -> SplitGraph:
    return open_splits("pykeen:nations")


@pytest.mark.parametrize(
    ("model", "how"), [("transe", CONTRAST), ("rotate", CONTRAST), ("complex", LOGISTIC), ("distmult", CHOICE)]
)
def test_vectors_and_measures_are_those_of_the_pipeline(model: str, how: dict[str, Any], nations: SplitGraph) -> None:
    ours = train_embeddings(nations, EmbeddingSettings(model=model, dim=8, epochs=3, seed=4))
    theirs = pipeline(
        dataset="nations",
        model=model,
        model_kwargs={"embedding_dim": 8},
        optimizer="adam",
        optimizer_kwargs={"lr": 0.01},
        training_kwargs={"num_epochs": 3, "batch_size": 256},
        random_seed=4,
        device="cpu",
        use_tqdm=False,
        **how,
    )
    entities, relations = theirs.model.entity_representations[0](), theirs.model.relation_representations[0]()
    assert torch.equal(ours.embeddings.entity_vectors, entities.detach())
    assert ours.embeddings.relation_vectors is not None
    assert torch.equal(ours.embeddings.relation_vectors, relations.detach())
    assert list(ours.losses) == theirs.losses
    found = evaluate_embeddings(ours.scorer, nations)["test"]
    for name in ("mrr", "hits@1", "hits@3", "hits@10"):
        assert found[name] == pytest.approx(theirs.get_metric(name), abs=1e-6), name


def test_a_model_that_scores_otherwise_is_ranked_by_pykeen(nations: SplitGraph) -> None:
    ours = train_embeddings(nations, EmbeddingSettings(model="ConvE", dim=8, epochs=2))
    theirs = pipeline(
        dataset="nations",
        model="conve",
        model_kwargs={"embedding_dim": 8},
        optimizer="adam",
        optimizer_kwargs={"lr": 0.01},
        training_kwargs={"num_epochs": 2, "batch_size": 256},
        negative_sampler_kwargs={"num_negs_per_pos": 32},
        loss="bceaftersigmoid",
        random_seed=0,
        device="cpu",
        use_tqdm=False,
    )
    found = evaluate_embeddings(ours.scorer, nations)
    assert found["test"]["mrr"] == pytest.approx(theirs.get_metric("mrr"), abs=1e-6)
    assert found.keys() == {"valid", "test"}
    # all that the model holds about an entity: its vector and its bias
    held = torch.cat([table().detach().reshape(14, -1) for table in theirs.model.entity_representations], dim=1)
    assert torch.equal(ours.embeddings.entity_vectors, held)
    assert (ours.embeddings.model, ours.embeddings.settings["loss"]) == ("conve", "bceaftersigmoid")


def test_the_generators_of_the_process_are_left_alone(nations: SplitGraph) -> None:
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    expected = random.random(), np.random.rand(), torch.rand(1)
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    frozen = gc.get_freeze_count()
    train_embeddings(nations, EmbeddingSettings(dim=4, epochs=1))
    assert (random.random(), np.random.rand(), torch.rand(1)) == expected
    assert gc.get_freeze_count() == frozen


def test_training_teaches(nations: SplitGraph) -> None:
    before, after = (
        evaluate_embeddings(train_embeddings(nations, EmbeddingSettings(model="distmult", epochs=n)).scorer, nations)
        for n in (1, 40)
    )
    assert after["test"]["mrr"] > before["test"]["mrr"] + 0.1


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"model": "transee"}, r"pykeen trains no model 'transee' from triples alone; did you mean transe\?"),
        ({"model": "complexliteral"}, "pykeen trains no model 'complexliteral' from triples alone"),
        ({"loss": "nsa"}, r"pykeen has no loss 'nsa'; did you mean nssa\?"),
        ({"loop": "cwa"}, "loop is 'cwa' but must be one of slcwa, lcwa"),
        ({"epochs": 0}, "epochs is 0 but must be at least 1"),
        ({"lr": -1.0}, "lr is -1.0 but must be greater than 0, and 1000 at most"),
    ],
)
def test_what_cannot_be_trained_is_one_sentence(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        EmbeddingSettings(**settings)


def test_a_loss_that_leaves_the_numbers_is_one_sentence(nations: SplitGraph) -> None:
    wild = EmbeddingSettings(loss="marginranking", dim=4, epochs=1, margin=3e38)
    with pytest.raises(UserError, match=r"the loss is no finite number any more; train with a smaller lr than 0.01"):
        train_embeddings(nations, wild)


def test_parts_without_triples_are_not_measured() -> None:
    graph = SplitGraph.of([("a", "r", "b"), ("b", "r", "a")])
    trained = train_embeddings(graph, EmbeddingSettings(dim=4, epochs=1))
    assert evaluate_embeddings(trained.scorer, graph) == {}
