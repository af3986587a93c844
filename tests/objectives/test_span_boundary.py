"""Hidden spans are told by what stands around them."""

import pytest
import torch
import torch.nn.functional as F

import mm_kptm
from mm_kptm.batch import Inputs, SequenceLayout, Tokens
from mm_kptm.errors import UserError
from mm_kptm.objectives.span_boundary import MaskedSpans, boundaries
from mm_kptm.objectives.spans import CutSpans, RunMasking, everything
from mm_kptm.systems.system import System

CLS, SEP, MASK = 1, 2, 3
OBJECTIVE = MaskedSpans(RunMasking(everything(MASK, (10, 60), frozenset({CLS, SEP})), CutSpans(rate=0.3)))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sentences() -> Inputs:
    draw = generator(7)
    return Inputs(
        text=Tokens.of([[CLS, *torch.randint(10, 60, (n,), generator=draw).tolist(), SEP] for n in (20, 12, 16, 8)])
    )


@pytest.fixture
def system() -> System:
    sizes = {"dim": 32, "num_heads": 2, "num_layers": 2, "ffn_dim": 64, "vocab_size": 60, "max_positions": 32}
    return mm_kptm.build("spanbert-base", seed=0, dropout=0.0, **sizes)


def test_boundaries_are_the_rows_around_a_span() -> None:
    """Of two texts; a span at a marker, or at the edge of a text, has none."""
    hidden = torch.tensor([0, 0, 1, 1, 0, 1, 0, 1, 0, 1, 0, 0], dtype=torch.bool)
    markers = torch.tensor([1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1], dtype=torch.bool)
    bounded, around, places = boundaries(hidden, markers, SequenceLayout((7, 5)))
    assert bounded.tolist() == [0, 1, 4]
    assert around.tolist() == [[1, 4], [1, 4], [8, 10]]
    assert places.tolist() == [0, 1, 0]


def test_the_loss_is_both_means(system: System) -> None:
    """Against every state of the encoder and a loop over what is hidden."""
    batch = OBJECTIVE.prepare(sentences(), generator())
    states = system(batch.inputs).text
    alone = F.cross_entropy(system.head("masked-tokens")(states[batch.rows]), batch.labels)
    told = []
    for which, (before, behind), place in zip(batch.bounded, batch.around, batch.places, strict=True):
        around = torch.cat([states[before], states[behind]])[None]
        scores = system.head("span-boundary")(around, place[None])
        told.append(F.cross_entropy(scores, batch.labels[which][None]))
    assert len(told) > 5
    torch.testing.assert_close(OBJECTIVE.loss(system, batch), alone + torch.stack(told).mean())
    measured = OBJECTIVE.measure(system, batch)
    assert measured.shape == (4,) and measured.isfinite().all()


def test_boundaries_are_never_hidden() -> None:
    for seed in range(10):
        batch = OBJECTIVE.prepare(sentences(), generator(seed))
        assert not torch.isin(batch.around, batch.rows).any()
        assert torch.equal(batch.around[:, 0] + 1 + batch.places, batch.rows[batch.bounded])


def test_tokens_behind_the_last_place_are_told_by_no_boundary() -> None:
    few = MaskedSpans(OBJECTIVE.masking, num_places=1)
    assert set(few.prepare(sentences(), generator()).places.tolist()) == {0}


def test_spans_are_learnt(system: System) -> None:
    """From within and from around: four puzzles of four sentences by heart."""
    inputs, system = sentences(), system.train()
    batches = [OBJECTIVE.prepare(inputs, generator(seed)) for seed in range(4)]
    optimizer = torch.optim.AdamW(system.parameters(), lr=1e-2)
    first = sum(OBJECTIVE.loss(system, batch).item() for batch in batches)
    for step in range(120):
        optimizer.zero_grad()
        OBJECTIVE.loss(system, batches[step % 4]).backward()
        optimizer.step()
    with torch.no_grad():
        last = sum(OBJECTIVE.loss(system, batch).item() for batch in batches)
        told = [OBJECTIVE.losses(system, batch)[1].mean().item() for batch in batches]
    assert last < 0.05 * first
    assert max(told) < 0.1


def test_a_batch_that_hides_nothing_has_a_loss_of_zero_with_a_gradient(system: System) -> None:
    batch = OBJECTIVE.prepare(Inputs(text=Tokens.of([[CLS, SEP]])), generator())
    loss = OBJECTIVE.loss(system, batch)
    loss.backward()
    assert loss == 0


def test_text_is_needed() -> None:
    with pytest.raises(UserError, match=r"^masked-spans masks text, but the inputs have none$"):
        OBJECTIVE.prepare(Inputs(), generator())
