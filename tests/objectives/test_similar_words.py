"""Similar words stand where others show masks."""

import math
from collections import Counter

import torch

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.objectives.similar_words import SimilarWords, similar_words_masking
from mm_kptm.objectives.spans import WholeGrams
from mm_kptm.objectives.tokens import MaskedTokens

CLS, SEP, MASK = 1, 2, 3
#: Words of one piece (10, 11), of two (20 21), and one that nothing is similar to (30 31).
TABLE = SimilarWords({(10,): [(12,), (13,)], (20, 21): [(22, 23)], (11,): [(14,)]})
WORDS = [[10], [20, 21], [30, 31], [11]]
POOL = (40, 60)


def text(count: int) -> Tokens:
    words = [WORDS[number % 4] for number in range(40)]
    ids = [CLS, *[piece for word in words for piece in word], SEP]
    units = [-1, *[number for number, word in enumerate(words) for _ in word], -1]
    return Tokens.of([ids] * count, mask_groups=[units] * count)


def masking(rate: float = 0.15):
    return similar_words_masking(MASK, POOL, frozenset({CLS, SEP}), TABLE, WholeGrams(rate=rate))


def words_of(tokens: Tokens, ids: torch.Tensor, rows: torch.Tensor) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Every hidden word, and what is shown in its place."""
    found: dict[int, tuple[list[int], list[int]]] = {}
    for row in rows.tolist():
        stood, shown = found.setdefault(int(tokens.mask_groups[row]), ([], []))
        stood.append(int(tokens.ids[row]))
        shown.append(int(ids[row]))
    return [(tuple(stood), tuple(shown)) for stood, shown in found.values()]


def test_a_hidden_word_becomes_a_similar_one_a_random_one_or_stays() -> None:
    tokens = text(400)
    hidden, rows = masking().mask(tokens, torch.Generator().manual_seed(0))
    words = words_of(tokens, hidden.ids, rows)
    assert MASK not in hidden.ids
    kinds: Counter[str] = Counter()
    for stood, shown in words:
        if shown == stood:
            kinds["kept"] += 1
        elif shown in TABLE.similar.get(stood, ()):
            kinds["similar"] += 1
        else:
            assert all(POOL[0] <= piece < POOL[1] for piece in shown)
            kinds["random" if stood in TABLE.similar else "nothing similar"] += 1
    known = sum(kinds[kind] for kind in ("kept", "similar", "random")) - sum(s == t == (30, 31) for s, t in words)
    assert abs(kinds["similar"] / known - 0.8) < 4 * math.sqrt(0.16 / known)
    assert abs(kinds["random"] / known - 0.1) < 4 * math.sqrt(0.09 / known)
    assert kinds["nothing similar"] > 0


def test_every_similar_word_is_shown_as_often_as_another() -> None:
    tokens = text(600)
    hidden, rows = masking().mask(tokens, torch.Generator().manual_seed(1))
    shown = Counter(shown for stood, shown in words_of(tokens, hidden.ids, rows) if stood == (10,))
    total = shown[12,] + shown[13,]
    assert total > 200 and abs(shown[12,] / total - 0.5) < 4 * math.sqrt(0.25 / total)


def test_a_table_of_words_keeps_those_of_as_many_pieces() -> None:
    """A word that the vocabulary does not know is nobody's neighbour."""
    pieces = {"big": [5], "large": [6], "enormous": [7, 8], "vast": [0], "gigantic": [9, 4]}
    table = {"big": ("large", "enormous", "vast"), "enormous": ("gigantic",), "vast": ("big",)}
    found = SimilarWords.of(table, pieces.__getitem__, unknown=0)
    assert found.similar == {(5,): [(6,)], (7, 8): [(9, 4)]}


def test_corrections_are_learnt() -> None:
    """What stood there is found again from similar words around and in its place."""
    sizes = {"dim": 32, "num_heads": 2, "num_layers": 2, "ffn_dim": 64, "vocab_size": 60, "max_positions": 64}
    system = mm_kptm.build("macbert-base-chinese", seed=0, heads=["masked-tokens"], dropout=0.0, **sizes).train()
    objective = MaskedTokens(masking(0.3))
    batches = [objective.prepare(Inputs(text=text(4)), torch.Generator().manual_seed(seed)) for seed in range(4)]
    optimizer = torch.optim.AdamW(system.parameters(), lr=1e-2)
    losses = []
    for step in range(80):
        optimizer.zero_grad()
        loss = objective.loss(system, batches[step % 4])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]
