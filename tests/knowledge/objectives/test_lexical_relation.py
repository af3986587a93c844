"""Pairs of words beside a batch of texts, judged by their own head."""

import pytest
import torch

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.data.tokenizers.wordpiece import WordPiece
from mm_kptm.knowledge.lexicons.related_words import RelatedWords, WordVectors
from mm_kptm.knowledge.objectives.lexical_relation import LexicalRelation
from mm_kptm.objectives.mixture import Mixture
from mm_kptm.objectives.tokens import MaskedTokens, Masking
from mm_kptm.systems.system import System

GROUPS = [("car", "auto"), ("big", "large"), ("cat", "kitty"), ("happy", "glad"), ("begin", "start"), ("sea", "ocean")]
TOKENIZER = WordPiece([*BERT_SPECIALS, *(word for pair in GROUPS for word in pair), "##s"], lowercase=True)
VECTORS = WordVectors(
    {word: place for place, word in enumerate(word for pair in GROUPS for word in pair)},
    torch.randn(12, 4, generator=torch.Generator().manual_seed(3)),
)
OBJECTIVE = LexicalRelation(RelatedWords(tuple(GROUPS)), VECTORS, TOKENIZER)
TEXTS = Inputs(text=Tokens.of([[2, 5, 3]] * 4))
SIZES = {"dim": 16, "num_heads": 2, "num_layers": 2, "ffn_dim": 32, "vocab_size": len(TOKENIZER), "max_positions": 16}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def system() -> System:
    return mm_kptm.build("libert", seed=0, dropout=0.0, **SIZES)


def test_every_text_brings_a_related_pair_and_two_near_ones() -> None:
    batch = OBJECTIVE.prepare(TEXTS, seeded())
    assert len(batch) == 4
    assert torch.bincount(batch.sequence_ids).tolist() == [3, 3, 3, 3]
    assert torch.bincount(batch.classes).tolist() == [4, 8], "class 0 is related"


def test_two_words_are_read_like_two_sentences() -> None:
    objective = LexicalRelation(RelatedWords((("cars", "auto"),)), VECTORS, TOKENIZER)
    text = objective.prepare(Inputs(text=Tokens.of([[5]])), seeded()).inputs.text
    assert text is not None
    assert [TOKENIZER.vocabulary[token] for token in text.ids] == ["[CLS]", "car", "##s", "[SEP]", "auto", "[SEP]"]
    assert text.segments.tolist() == [0, 0, 0, 0, 1, 1] and text.positions.tolist() == list(range(6))


def test_a_seed_decides_which_pairs_are_drawn() -> None:
    first, again, other = (OBJECTIVE.prepare(TEXTS, seeded(seed)) for seed in (0, 0, 1))
    assert first.inputs.text is not None and again.inputs.text is not None and other.inputs.text is not None
    assert torch.equal(first.inputs.text.ids, again.inputs.text.ids)
    assert not torch.equal(first.inputs.text.ids, other.inputs.text.ids)


def test_each_pair_is_measured_with_what_was_made_of_it(system: System) -> None:
    batch = OBJECTIVE.prepare(TEXTS, seeded())
    losses = OBJECTIVE.losses(system, batch)
    torch.testing.assert_close(OBJECTIVE.measure(system, batch)[2], losses[batch.sequence_ids == 2].mean())
    torch.testing.assert_close(OBJECTIVE.loss(system, batch), losses.mean())


def test_it_stands_beside_masked_tokens(system: System) -> None:
    masked = MaskedTokens(Masking(4, pool=(5, 17), never=frozenset({2, 3})))
    objectives = {"masked-tokens": masked, OBJECTIVE.name: OBJECTIVE}
    mixture = Mixture(system, objectives, {"masked-tokens": 1.0, OBJECTIVE.name: 0.5})
    texts = Inputs(text=Tokens.of([[2, *range(5, 17), 3]] * 4))
    batches = mixture.prepare(texts, seeded())
    expected = masked.loss(system, batches.by_name["masked-tokens"])
    expected = expected + 0.5 * OBJECTIVE.loss(system, batches.by_name[OBJECTIVE.name])
    torch.testing.assert_close(mixture.loss(batches), expected)
    assert all(len(measure) == 4 for measure in mixture.measure(batches).values())


def test_related_words_are_learned(system: System) -> None:
    """Puzzles are drawn anew at every step; six pairs and what is near to them are soon known by heart."""
    optimiser = torch.optim.Adam(system.parameters(), lr=5e-3)  # the system stays as built: nothing is dropped out
    texts = Inputs(text=Tokens.of([[5]] * 6))
    draw = seeded()
    for _ in range(200):
        optimiser.zero_grad()
        OBJECTIVE.loss(system, OBJECTIVE.prepare(texts, draw)).backward()
        optimiser.step()
    assert OBJECTIVE.loss(system, OBJECTIVE.prepare(texts, seeded(9))).item() < 0.1
