"""The contrast of mentions with descriptions."""

from typing import Any

import pytest
import torch

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.crosslingual.modules.queued_contrast import (
    UNKNOWN,
    DefinitionContrast,
    Projection,
    RunningBatchNorm,
    Spoken,
    queued_contrast,
)
from mm_kptm.crosslingual.objectives.entity_definition import EntityDefinition, ObjectEntailment
from mm_kptm.crosslingual.objectives.fairseq_masking import FairseqMasking
from mm_kptm.errors import UserError
from mm_kptm.objectives.mixture import required_heads

SMALL = {"dim": 8, "num_heads": 2, "num_layers": 1, "ffn_dim": 8, "vocab_size": 30, "max_positions": 20, "dropout": 0.0}
MASKING = FairseqMasking(mask_id=29, vocab_size=30, rate=0.4)


def system(queue_size: int = 4) -> Any:
    heads = {"masked-tokens": {}, "entity-definition": {"queue_size": queue_size}}
    return mm_kptm.build("xlm-k", heads=heads, seed=0, **SMALL)


def inputs() -> Inputs:
    text = Tokens.of([[0, 10, 11, 2], [0, 12, 2], [0, 13, 14, 2]])
    labels = {"mention": torch.tensor([0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0])}
    text = Tokens(text.ids, text.layout, text.positions, text.segments, token_labels=labels)
    return Inputs(text=text, target=Tokens.of([[0, 20, 2], [0, 21, 22, 2], [0, 23, 2]]))


def test_batch_normalisation_agrees_with_torch_and_its_statistics_are_saved() -> None:
    ours, theirs = RunningBatchNorm(4, affine=True), torch.nn.BatchNorm1d(4, eps=1e-12)
    for _ in range(3):
        x = torch.randn(6, 4)
        torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours.running_var.detach(), theirs.running_var)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))
    assert {"running_mean", "running_var"} <= {name for name, _ in ours.named_parameters()}


def test_a_contrast_of_equal_vectors_is_uniform() -> None:
    vectors, queue = torch.ones(3, 4), torch.ones(2, 4)
    losses = queued_contrast(vectors, vectors, queue, temperature=0.1, normalised=True)
    torch.testing.assert_close(losses, torch.full((6,), 7.0).log())  # 3 + 3 + 2 rows without the own one


def test_mentions_are_found_by_their_label() -> None:
    batch = EntityDefinition(MASKING).prepare(inputs(), torch.Generator().manual_seed(0))
    assert batch.starts.tolist() == [2, -1, 8]


def test_states_join_the_queues_at_the_end_in_training_alone() -> None:
    model, objective = system(), EntityDefinition(MASKING)
    head = model.head("entity-definition")
    batch = objective.prepare(inputs(), torch.Generator().manual_seed(0))
    before = head.documents.clone()
    objective.loss(model.eval(), batch)
    assert torch.equal(head.documents, before)
    losses = objective.losses(model.train(), batch)
    assert torch.equal(head.documents[0], before[3]) and not torch.equal(head.documents[1], before[0])
    assert len(losses["word2doc"]) == len(losses["doc2word"]) == 4, "two of three sentences mention an entity"


def test_a_batch_without_entities_is_masked_tokens_alone() -> None:
    given = inputs()
    bare = Tokens(given.text.ids, given.text.layout, given.text.positions, given.text.segments, token_labels={})
    bare = Tokens(**{**vars(bare), "token_labels": {"mention": torch.zeros(11)}})
    model, objective = system().train(), EntityDefinition(MASKING)
    batch = objective.prepare(Inputs(text=bare, target=given.target), torch.Generator().manual_seed(0))
    torch.testing.assert_close(objective.loss(model, batch), objective.losses(model, batch)["masked"].mean())


def test_of_more_states_than_the_queue_holds_some_are_drawn() -> None:
    states = torch.arange(80.0).view(40, 2)
    heads = [DefinitionContrast(2, queue_size=8) for _ in range(2)]
    for head in heads:
        head.enqueue(states, states + 100)
    drawn = heads[0].words[:, 0].div(2).long().tolist()
    assert len(set(drawn)) == 8 and min(drawn) < 20, "not the last ones"
    assert torch.equal(heads[0].words, heads[1].words) and torch.equal(heads[0].documents, heads[0].words + 100)


def one_by_one(queries: Any, keys: Any, queue: Any, languages: Any, queued: Any, temperature: float) -> list[Any]:
    """The loss of each query, and of each key, from its scores in a loop."""
    losses = []
    for mine, theirs in ((queries, keys), (keys, queries)):
        for row, vector in enumerate(mine):
            others = [(mine[i], languages[i]) for i in range(len(mine)) if i != row]
            others += [(theirs[i], languages[i]) for i in range(len(mine)) if i != row]
            others += [(state, language) for state, language in zip(queue, queued, strict=True)]
            seen = [theirs[row], *(state for state, language in others if language in (languages[row], UNKNOWN))]
            scores = torch.stack([vector @ state for state in seen]) / temperature
            losses.append(torch.logsumexp(scores, 0) - scores[0])
    return losses


def test_negatives_are_of_the_same_language_or_random() -> None:
    torch.manual_seed(3)
    queries, keys, queue = torch.randn(5, 4), torch.randn(5, 4), torch.randn(6, 4)
    languages, queued = torch.tensor([7, 9, 7, 8, 9]), torch.tensor([UNKNOWN, 9, 7, 7, 5, UNKNOWN])
    spoken = Spoken(languages, queued)
    found = queued_contrast(queries, keys, queue, temperature=0.3, normalised=False, spoken=spoken)
    torch.testing.assert_close(found, torch.stack(one_by_one(queries, keys, queue, languages, queued, 0.3)))
    one = Spoken(torch.full((5,), 7), torch.full((6,), UNKNOWN))
    alike = [queued_contrast(queries, keys, queue, temperature=0.3, normalised=True, spoken=of) for of in (one, None)]
    torch.testing.assert_close(*alike)


def test_the_queues_keep_the_languages_of_their_states() -> None:
    heads = {"masked-tokens": {}, "entity-definition": {"queue_size": 4, "multi_queue": True}}
    model, objective = mm_kptm.build("xlm-k", heads=heads, seed=0, **SMALL), EntityDefinition(MASKING, multi_queue=True)
    assert required_heads(objective)["entity-definition"] == {"multi_queue": True}
    given = inputs()
    with pytest.raises(UserError, match=r"^multi_queue tells languages apart, so the text needs the token label lang"):
        objective.prepare(given, torch.Generator())
    given.text.token_labels["language"] = torch.tensor([1, 1, 1, 1, 2, 2, 2, 3, 3, 3, 3])
    batch = objective.prepare(given, torch.Generator().manual_seed(0))
    assert batch.languages.tolist() == [1, 2, 3]
    head = model.train().head("entity-definition")
    first = objective.losses(model, batch)
    assert head.languages.tolist() == [UNKNOWN, 1, 2, 3]
    plain = EntityDefinition(MASKING).prepare(given, torch.Generator().manual_seed(0))
    assert first["word2doc"].isfinite().all() and plain.languages is None
    head.enqueue(torch.ones(5, 8), torch.ones(5, 8), torch.arange(10, 15))
    assert len(set(head.languages.tolist())) == 4 and min(head.languages.tolist()) >= 10


def test_the_queue_is_as_long_as_an_experiment_says() -> None:
    for objective in (EntityDefinition(MASKING, queue_size=6), ObjectEntailment(queue_size=6)):
        assert required_heads(objective)[objective.name] == {"queue_size": 6}
    assert required_heads(EntityDefinition(MASKING)) == {"entity-definition": {}, "masked-tokens": {}}
    with pytest.raises(UserError, match=r"^a queue holds at least one state, but queue_size is 0$"):
        DefinitionContrast(2, queue_size=0)


def test_what_cannot_be_is_refused() -> None:
    objective, given = EntityDefinition(MASKING), inputs()
    with pytest.raises(UserError, match="the inputs need a text with the token label mention and a target"):
        objective.prepare(Inputs(text=Tokens.of([[0, 2]]), target=Tokens.of([[0, 2]])), torch.Generator())
    with pytest.raises(UserError, match="every sentence needs a description, but there are 3 and 1"):
        objective.prepare(Inputs(text=given.text, target=Tokens.of([[0, 2]])), torch.Generator())
    with pytest.raises(UserError, match="a projection has at least one layer, not 0"):
        Projection(4, 0)


def test_each_sentence_has_its_share_of_the_loss() -> None:
    model, objective = system().eval(), EntityDefinition(MASKING, word_scale=0.5)
    batch = objective.prepare(inputs(), torch.Generator().manual_seed(0))
    found = objective.losses(model, batch)
    each = objective.measure(model, batch)
    owners = batch.text.layout.sequence_ids(batch.rows.device)[batch.rows]
    for number, linked in ((0, 0), (2, 1)):
        masked = found["masked"][owners == number].mean()
        word2doc, doc2word = (found[name].view(2, 2)[:, linked].mean() for name in ("word2doc", "doc2word"))
        torch.testing.assert_close(each[number], masked + 0.5 * word2doc + doc2word)
    torch.testing.assert_close(each[1], found["masked"][owners == 1].mean())


def test_a_subject_with_a_relation_is_contrasted_with_its_object() -> None:
    heads = {"object-entailment": {"queue_size": 4}}
    model, objective = mm_kptm.build("xlm-k", heads=heads, seed=0, **SMALL).eval(), ObjectEntailment()
    given = Inputs(text=inputs().text, target=inputs().target)
    batch = objective.prepare(given)
    head = model.head("object-entailment")
    sides = [model(Inputs(text=side)).text[side.layout.starts(side.ids.device)] for side in (given.text, given.target)]
    vectors = head.word(sides[0]), head.document(sides[1])
    found = queued_contrast(*vectors, head.documents.detach(), temperature=0.1, normalised=True)
    torch.testing.assert_close(objective.measure(model, batch), found.view(2, 3).mean(0))
    before = head.words.clone()
    objective.loss(model, batch)
    assert torch.equal(head.words, before), "evaluation leaves the queues alone"
    objective.loss(model.train(), batch)
    assert torch.equal(head.words[0], before[3]) and not torch.equal(head.words[1:], before[:3])
