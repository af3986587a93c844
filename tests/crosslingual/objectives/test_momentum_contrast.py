"""The contrast of translations: mixing, the ring of keys, the momentum encoder."""

from typing import Any

import pytest
import torch

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.crosslingual.objectives.fairseq_masking import FairseqMasking
from mm_kptm.crosslingual.objectives.momentum_contrast import CrossLingualContrast, MomentumContrast, mixed_up
from mm_kptm.errors import UserError
from mm_kptm.objectives.mixture import Mixture

SMALL = {"dim": 8, "num_heads": 2, "num_layers": 2, "ffn_dim": 8, "vocab_size": 30, "max_positions": 20, "dropout": 0.0}


def system(queue_size: int = 5) -> Any:
    return mm_kptm.build("infoxlm", heads={"xlco": {"queue_size": queue_size}}, seed=0, **SMALL)


def inputs(count: int = 5) -> Inputs:
    texts = [[0, 10 + number, 2] for number in range(count)]
    return Inputs(
        text=Tokens.of(texts), target=Tokens.of([[0, 20 + number, 20 + number, 2] for number in range(count)])
    )


@pytest.mark.parametrize(
    ("mode", "query", "key"),
    [
        (0, [0, 10, 2, 11, 2], [0, 20, 20, 2, 21, 21, 2]),
        (1, [0, 11, 2, 10, 2], [0, 20, 20, 2, 21, 21, 2]),
        (2, [0, 10, 2, 11, 2], [0, 21, 21, 2, 20, 20, 2]),
        (7, [0, 21, 21, 2, 20, 20, 2], [0, 11, 2, 10, 2]),
    ],
)
def test_two_pairs_are_mixed_by_three_bits(mode: int, query: list[int], key: list[int]) -> None:
    given = inputs(2)
    mixed = mixed_up(given.text, given.target, [mode])
    assert (mixed.queries.ids.tolist(), mixed.keys.ids.tolist()) == (query, key)
    assert mixed.queries.positions.tolist() == list(range(len(query)))


def test_every_pair_is_contrasted_and_a_single_one_stays_alone() -> None:
    objective = CrossLingualContrast(layer=1)
    batch = objective.prepare(inputs(5), torch.Generator().manual_seed(0))
    assert len(batch) == 3
    assert sorted(i for i in [*batch.queries.ids.tolist(), *batch.keys.ids.tolist()] if i > 2) == sorted(
        [*range(10, 15), *range(20, 25), *range(20, 25)]
    )
    unmixed = CrossLingualContrast(layer=1, mixup=False).prepare(inputs(5), torch.Generator())
    assert torch.equal(unmixed.queries.ids, inputs(5).text.ids)


def test_masking_hides_tokens_of_both_sides() -> None:
    masking = FairseqMasking(mask_id=29, vocab_size=30, rate=0.9, keep_share=0.0, random_share=0.0)
    batch = CrossLingualContrast(masking=masking).prepare(inputs(4), torch.Generator().manual_seed(0))
    assert (batch.queries.ids == 29).any() and (batch.keys.ids == 29).any()


def test_keys_overwrite_the_oldest_ones() -> None:
    head = MomentumContrast(torch.nn.Linear(1, 1), 1, 3)
    keys = torch.arange(1.0, 8.0)[:, None]
    for first, last, expected in ((0, 2, [1, 2]), (2, 4, [4, 2, 3]), (4, 7, [7, 5, 6])):
        head.enqueue(keys[first:last])
        assert head.negatives().flatten().tolist() == expected
    head.enqueue(keys)  # more than the ring holds: the last ones stay
    assert sorted(head.queue.flatten().tolist()) == [5, 6, 7]


def test_the_slow_encoder_starts_as_the_fast_one_and_follows_it() -> None:
    model, objective = system().train(), CrossLingualContrast(layer=2, momentum=0.5, mixup=False)
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.normal_()
    head = model.head("xlco")
    losses = objective.losses(model, objective.prepare(inputs(4), torch.Generator()))
    assert losses.tolist() == [0.0] * 4, "without a key in the queue there is nothing to confuse a text with"
    assert all(torch.equal(a, b) for a, b in zip(head.slow.parameters(), model.encoder.parameters(), strict=True))
    before = [parameter.clone() for parameter in head.slow.parameters()]
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.add_(2.0)
    objective.after_step(model)
    for parameter, old in zip(head.slow.parameters(), before, strict=True):
        torch.testing.assert_close(parameter, old + 1.0)


def test_a_mixture_moves_the_slow_encoder_after_every_step() -> None:
    model, objective = system().train(), CrossLingualContrast(layer=1, momentum=0.75)
    mixed = Mixture(model, {"xlco": objective}, {"xlco": 1.0})
    mixed.loss(mixed.prepare(inputs(4), torch.Generator().manual_seed(0)))
    with torch.no_grad():
        model.encoder.embed.text.word.weight.add_(4.0)
        before = model.head("xlco").slow.embed.text.word.weight.clone()
    mixed.after_step(1)
    torch.testing.assert_close(model.head("xlco").slow.embed.text.word.weight, before + 1.0)


def test_evaluation_leaves_the_queue_alone() -> None:
    model, objective = system().train(), CrossLingualContrast(layer=1)
    batch = objective.prepare(inputs(4), torch.Generator().manual_seed(0))
    objective.loss(model, batch)
    kept = model.head("xlco").queue.clone()
    assert objective.measure(model.eval(), batch).shape == (2,)
    assert torch.equal(model.head("xlco").queue, kept)


def test_training_brings_translations_together() -> None:
    model, objective = system(queue_size=8).train(), CrossLingualContrast(layer=2, momentum=0.9, mixup=False)
    batch = objective.prepare(inputs(4), torch.Generator())
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.01)
    losses = []
    for _ in range(30):
        loss = objective.loss(model, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        objective.after_step(model)
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * max(losses)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Inputs(text=Tokens.of([[0, 2]])), "the inputs need a text and a target"),
        (
            Inputs(text=Tokens.of([[0, 2]]), target=Tokens.of([[0, 2]] * 2)),
            "needs its translation, but there are 1 and 2",
        ),
    ],
)
def test_texts_without_their_translations_are_refused(given: Inputs, message: str) -> None:
    with pytest.raises(UserError, match=message):
        CrossLingualContrast().prepare(given, torch.Generator())


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UserError, match="reads layer 7, which is deeper than the encoder"):
        CrossLingualContrast(layer=7, mixup=False).loss(
            system(), CrossLingualContrast(mixup=False).prepare(inputs(2), torch.Generator())
        )
    with pytest.raises(UserError, match="queue_size is 0"):
        system(queue_size=0)
    with pytest.raises(
        UserError, match="1 mixed items need 2 sentences with as many translations, but there are 3 and 3"
    ):
        mixed_up(inputs(3).text, inputs(3).target, [0])
