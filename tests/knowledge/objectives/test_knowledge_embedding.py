"""KEPLER's knowledge embedding: entities by their texts."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.data.tokenizers.protocol import Specials
from mm_kptm.errors import UserError
from mm_kptm.knowledge.embedding.negatives import Contrasted
from mm_kptm.knowledge.embedding.transe import TransEScore
from mm_kptm.knowledge.graph.indexed_triple import IndexedTriple
from mm_kptm.knowledge.objectives.knowledge_embedding import (
    DescribedGraph,
    DescribedTriples,
    KnowledgeEmbedding,
    contrast,
    scores,
)
from mm_kptm.objectives.mixture import Mixture
from mm_kptm.objectives.tokens import MaskedTokens, Masking
from mm_kptm.systems.system import System

SMALL: dict[str, Any] = {"dim": 12, "num_heads": 2, "num_layers": 2, "ffn_dim": 20, "vocab_size": 30, "dropout": 0.0}
SPECIALS = Specials(pad=1, unknown=3, start=0, stop=2, mask=29)
TEXTS = [[5, 6], [7, 8, 9], [10], [11, 12, 13, 14]]
RELATIONS = [[20], [21, 22]]
TRIPLES = [IndexedTriple(0, 0, 1), IndexedTriple(2, 1, 3), IndexedTriple(1, 1, 0)]


def system() -> System:
    heads = {"masked-tokens": {}, "knowledge-embedding": {"num_relations": 2}}
    return mm_kptm.build("kepler", heads=heads, seed=0, **SMALL)


def graph(relations: str = "table", **more: Any) -> DescribedGraph:
    texts = None if relations == "table" else RELATIONS
    return DescribedGraph(TRIPLES, TEXTS, SPECIALS, relations=relations, relation_texts=texts, **more)


def drawn() -> list[Contrasted]:
    return [Contrasted(triple, (2, 3), (2, 2)) for triple in TRIPLES]


def vector(model: System, *text: int) -> Tensor:
    """The first state of one text by itself."""
    return model(Inputs(text=Tokens.of([text]))).text[0]


@torch.no_grad()
def test_scores_are_those_of_every_text_by_itself() -> None:
    model = system()
    true, false = scores(model, graph().described(drawn()))
    head, entities = model.head("knowledge-embedding"), [vector(model, 0, *text, 2) for text in TEXTS]
    for number, example in enumerate(drawn()):
        h, r, t = (
            entities[example.triple.head],
            head.relation.weight[example.triple.relation],
            entities[example.triple.tail],
        )
        torch.testing.assert_close(true[number], 4 - (h + r - t).norm())
        others = [4 - (entities[e] + r - t).norm() for e in example.false_heads]
        others += [4 - (h + r - entities[e]).norm() for e in example.false_tails]
        torch.testing.assert_close(false[number], torch.stack(others))


def test_texts_without_a_start_token_begin_with_their_first_word() -> None:
    bare = DescribedGraph(
        TRIPLES, TEXTS, replace(SPECIALS, opens=False), relations="conditioned", relation_texts=RELATIONS
    )
    batch = bare.described(drawn()[1:2])
    text = batch.texts.text
    assert text is not None
    ids = [part.tolist() for part in text.layout.split(text.ids)]
    assert [10, 2] in ids and [10, 2, 2, 21, 22, 2] in ids
    assert bare.lengths.tolist() == [bare.length(number) for number in range(len(bare))] == [3 + 4, 2 + 5, 4 + 3]


@torch.no_grad()
def test_a_conditioned_relation_follows_one_side_at_a_time() -> None:
    model = system()
    true, false = scores(model, graph("conditioned").described(drawn()[1:2]))
    h, t, other = (vector(model, 0, *TEXTS[number], 2) for number in (2, 3, 2))
    told_h, told_t = (vector(model, 0, *TEXTS[number], 2, 2, *RELATIONS[1], 2) for number in (2, 3))
    r = model.head("knowledge-embedding").relation.weight[1]
    torch.testing.assert_close(true[0], 4 - ((told_h + r - t).norm() + (h + r - told_t).norm()) / 2)
    torch.testing.assert_close(false[0, 0], 4 - (other + r - told_t).norm())
    torch.testing.assert_close(false[0, 2], 4 - (told_h + r - other).norm())


@torch.no_grad()
def test_a_described_relation_stands_in_place_of_the_table() -> None:
    model = system()
    described = graph("described").described(drawn()[:1])
    true, _ = scores(model, described)
    h, r, t = vector(model, 0, *TEXTS[0], 2), vector(model, 0, *RELATIONS[0], 2), vector(model, 0, *TEXTS[1], 2)
    torch.testing.assert_close(true[0], 4 - (h + r - t).norm())
    model.head("knowledge-embedding").relation.weight.zero_()
    assert torch.equal(scores(model, described)[0], true)


def test_every_distinct_text_is_encoded_once() -> None:
    described = graph().described(drawn())
    assert described.texts.text.layout.lengths == (3, 4, 5, 6)
    assert sorted(described.texts.text.layout.lengths) == list(described.texts.text.layout.lengths)


def test_long_texts_are_cut_at_their_end() -> None:
    described = graph("conditioned", max_length=5).described(drawn()[:1])
    texts = [rows.tolist() for rows in described.texts.text.layout.split(described.texts.text.ids)]
    assert texts == [[0, 10, 2], [0, 5, 6, 2], [0, 5, 6, 2, 2], [0, 7, 8, 9, 2], [0, 11, 12, 13, 14]]
    relation = graph("described", max_length=16).described(drawn()[1:2])
    assert relation.texts.text.ids[:2].tolist() == [0, 21], "an eighth of the length is left to a relation"


def test_batch_composition_changes_nothing() -> None:
    model = system()
    together = scores(model, graph().described(drawn()))
    for number, example in enumerate(drawn()):
        alone = scores(model, graph().described([example]))
        torch.testing.assert_close(alone[0][0], together[0][number])
        torch.testing.assert_close(alone[1][0], together[1][number])


def test_the_untrained_loss_of_equal_scores_is_known() -> None:
    zeros = torch.zeros(3), torch.zeros(3, 4)
    torch.testing.assert_close(contrast(*zeros), torch.full((3,), 2.0).log())


def test_the_margin_is_kept_and_not_trained() -> None:
    head = TransEScore(4, 3, margin=7.0)
    assert [name for name, parameter in head.named_parameters() if not parameter.requires_grad] == ["margin"]
    same = torch.ones(2, 4)
    torch.testing.assert_close(head(same, torch.zeros(2, 4), same), torch.full((2,), 7.0))
    assert head.relation.weight.abs().max() <= 9 / 4


def test_half_precision_scores_are_single() -> None:
    vectors = torch.randn(3, 2, 4).to(torch.bfloat16)
    assert TransEScore(4, 3)(*vectors).dtype == torch.float32


def test_a_gradient_reaches_every_parameter_through_both_losses() -> None:
    model = system()
    masking = Masking(mask_id=29, pool=(4, 29), never=SPECIALS.never_masked)
    objectives = {
        "masked-tokens": MaskedTokens(masking),
        "knowledge-embedding": KnowledgeEmbedding(graph(), negatives=2),
    }
    mixture = Mixture(model, objectives, dict.fromkeys(objectives, 1.0))
    inputs = Inputs(text=Tokens.of([[0, *range(4, 14), 2], [0, *range(8, 20), 2]]))
    batches = mixture.prepare(inputs, torch.Generator().manual_seed(0))
    mixture.loss(batches).backward()
    for name, parameter in model.named_parameters():
        if name != "heads.knowledge-embedding.margin":
            assert name.endswith("key.bias") or (parameter.grad is not None and parameter.grad.any()), name
    measured = mixture.measure(batches)
    assert {name: len(values) for name, values in measured.items()} == {"masked-tokens": 2, "knowledge-embedding": 2}
    torch.testing.assert_close(
        objectives["knowledge-embedding"].loss(model, batches.by_name["knowledge-embedding"]),
        measured["knowledge-embedding"].mean(),
    )


def test_the_generator_decides_the_puzzle() -> None:
    objective, inputs = KnowledgeEmbedding(graph()), Inputs(text=Tokens.of([[0, 2]] * 3))

    def made(seed: int) -> DescribedTriples:
        return objective.prepare(inputs, torch.Generator().manual_seed(seed))

    for field in ("relations", "heads", "false_heads", "false_tails"):
        assert torch.equal(getattr(made(3), field), getattr(made(3), field))
    assert len(made(3)) == 3 and {len(made(seed).texts.text.ids) for seed in range(5)} != {1}


def test_three_triples_are_overfitted() -> None:
    model, objective = system(), KnowledgeEmbedding(graph(), negatives=2)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    generator = torch.Generator().manual_seed(0)
    losses = []
    for _ in range(60):
        batch = graph().batch([0, 1, 2], 2, generator)
        loss = objective.loss(model, batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(UserError, match="relations are read as table, conditioned, described, not as 'spoken'"):
        graph("spoken")
    with pytest.raises(UserError, match="described relations are texts, but relation_texts were not given"):
        DescribedGraph(TRIPLES, TEXTS, SPECIALS, relations="described")
    with pytest.raises(UserError, match="there is no triple to learn from"):
        DescribedGraph([], TEXTS, SPECIALS)
    with pytest.raises(
        UserError, match=r"the triple \(2, 1, 3\) is about an entity without a text; there are texts of 3"
    ):
        DescribedGraph(TRIPLES, TEXTS[:3], SPECIALS)
    with pytest.raises(UserError, match=r"\(2, 1, 3\) has a relation without a text; there are texts of 1 relations"):
        DescribedGraph(TRIPLES, TEXTS, SPECIALS, relation_texts=RELATIONS[:1])
    with pytest.raises(UserError, match="so negatives must be at least 1, not 0"):
        KnowledgeEmbedding(graph(), negatives=0)
