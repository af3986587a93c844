import pytest
import torch
from torch import nn

from mm_kptm.batch import POOLED_ONLY, Encoded, Entities, Inputs, OutputRows, Tokens
from mm_kptm.errors import UserError
from mm_kptm.knowledge.embedding.entity_table import EntityTable
from mm_kptm.knowledge.fusion.entity_embedding import EntityVectors, WithVectors, with_facts

TABLE = EntityTable({"Q1": 0, "Q2": 1, "Q3": 2}, torch.arange(6.0).view(3, 2))


def test_looking_up_gives_what_the_table_gave() -> None:
    entities = TABLE.entities([[-1, 2, -1], [0, 0]])
    found = EntityVectors(TABLE.vectors)(entities)
    assert torch.equal(found.vectors, entities.vectors)
    assert torch.equal(found.linked, entities.linked)


@pytest.mark.parametrize("trainable", [True, False])
def test_only_the_entities_of_the_batch_learn(trainable: bool) -> None:
    table = EntityVectors(TABLE.vectors, trainable=trainable)
    found = table(TABLE.entities([[-1, 2, 2]])).vectors.square().sum()
    assert found.requires_grad == trainable
    if trainable:
        found.backward()
        assert table.vectors.grad is not None
        assert table.vectors.grad.tolist() == [[0, 0], [0, 0], [16, 20]]
    assert TABLE.vectors.tolist() == [[0, 1], [2, 3], [4, 5]]  # the table that was given stays as it is


class _Sum(nn.Module):
    """Gives the vectors that it was shown."""

    dim = 2

    def forward(self, inputs: Inputs, output_rows: OutputRows) -> Encoded:
        assert inputs.entities is not None
        return Encoded({}, inputs.entities.vectors)


def test_an_encoder_reads_the_vectors_of_the_table() -> None:
    table = EntityVectors(TABLE.vectors)
    reading = WithVectors(_Sum(), table)
    inputs = Inputs(text=Tokens.of([[1, 2]]), entities=TABLE.entities([[1, -1]]))
    with torch.no_grad():
        table.vectors += 1
    assert reading(inputs, POOLED_ONLY).pooled.tolist() == [[3, 4], [0, 0]]
    assert reading.dim == 2
    assert [name for name, _ in reading.named_parameters()] == ["entity_vectors.vectors"]


def test_random_vectors_are_those_of_other_entities() -> None:
    big = EntityTable({f"Q{i}": i for i in range(50)}, torch.arange(50.0)[:, None])
    random = with_facts(big, "random", seed=1)
    assert sorted(random.vectors.flatten().tolist()) == sorted(big.vectors.flatten().tolist())
    assert (random.vectors != big.vectors).all()
    assert torch.equal(random.vectors, with_facts(big, "random", seed=1).vectors)
    assert with_facts(big, "true") is big
    assert with_facts(big, "none").number_of("Q1") == -1
    with pytest.raises(UserError, match=r"knowledge.facts is swapped, but entity vectors from files can"):
        with_facts(big, "swapped")


def test_what_cannot_be_looked_up_is_one_sentence() -> None:
    table = EntityVectors(TABLE.vectors[:2])
    with pytest.raises(UserError, match="entity number 2 was asked for, but the table has 2 rows"):
        table(TABLE.entities([[2]]))
    bare = Entities(vectors=torch.zeros(1, 2), linked=torch.ones(1, dtype=torch.bool))
    with pytest.raises(UserError, match="were to be looked up, but the entities of the batch have no numbers"):
        table(bare)
