"""Candidates are hidden with the tokens that mention them."""

import torch

from mm_kptm.batch import Candidates, Inputs, SequenceLayout, Tokens
from mm_kptm.batch.special_entities import MASK
from mm_kptm.knowledge.objectives.masked_candidates import CandidateHiding, MaskedTokensAndCandidates
from mm_kptm.objectives.tokens import Bernoulli, Masking

GIVEN = Candidates(
    spans=torch.tensor([[0, 1], [2, 2], [4, 5], [-1, -1]]),
    layout=SequenceLayout((2, 1, 1)),
    entities=torch.tensor([[4, 5, 6], [7, 8, 9], [10, 11, 0], [0, 0, 0]]),
    priors=torch.tensor([[0.2, 0.3, 0.5], [0.2, 0.3, 0.5], [0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]),
)


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_hidden_token_hides_the_spans_that_hold_it() -> None:
    hidden = CandidateHiding(mask_share=1.0, random_share=0.0).mask(GIVEN, torch.tensor([1, 5]), draw())
    assert hidden.entities.tolist() == [[MASK, 0, 0], [7, 8, 9], [MASK, 0, 0], [0, 0, 0]]
    torch.testing.assert_close(hidden.priors[[0, 2]], torch.tensor([[1.0, 0.0, 0.0]] * 2))
    assert GIVEN.entities[0].tolist() == [4, 5, 6], "what was given stays as it is"


def test_others_come_from_the_same_text() -> None:
    """With priors that sum to one; a text whose only span is hidden has no others."""
    for seed in range(20):
        hidden = CandidateHiding(mask_share=0.0, random_share=1.0).mask(GIVEN, torch.tensor([0, 4]), draw(seed))
        kept = hidden.entities[0][hidden.entities[0] > 0]
        assert set(kept.tolist()) <= {7, 8, 9} and len(kept) == len(kept.unique()) > 0
        torch.testing.assert_close(hidden.priors[0].sum(), torch.tensor(1.0))
        assert hidden.entities[2].tolist() == [10, 11, 0]


def test_shares_are_kept() -> None:
    many = Candidates(
        spans=torch.arange(4000)[:, None].expand(-1, 2),
        layout=SequenceLayout((4000,)),
        entities=torch.full((4000, 1), 9),
        priors=torch.ones(4000, 1),
    )
    hidden = CandidateHiding(random_share=0.0).mask(many, torch.arange(4000), draw())
    assert abs((hidden.entities == MASK).float().mean() - 0.8) < 0.03


def test_a_puzzle_hides_tokens_and_candidates_alike_for_a_seed() -> None:
    objective = MaskedTokensAndCandidates(
        Masking(mask_id=3, pool=(5, 9), never=frozenset(), policy=Bernoulli(1.0)), CandidateHiding(mask_share=1.0)
    )
    inputs = Inputs(text=Tokens.of([[5, 6, 7], [5, 6, 7], [8]]), candidates={"wiki": GIVEN})
    first, second = objective.prepare(inputs, draw()), objective.prepare(inputs, draw())
    assert first.inputs.candidates is not None and second.inputs.candidates is not None
    assert first.inputs.candidates["wiki"].entities[:3, 0].tolist() == [MASK] * 3
    assert torch.equal(first.inputs.candidates["wiki"].priors, second.inputs.candidates["wiki"].priors)
    assert first.rows.tolist() == list(range(7))
    assert objective.prepare(Inputs(text=inputs.text), draw()).inputs.candidates is None
