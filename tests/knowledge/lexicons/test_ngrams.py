"""N-grams of a lexicon are found wherever they stand, and not where a text is hidden."""

from pathlib import Path

import pytest
import torch

from mm_kptm.batch import Inputs, Tokens
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.errors import UserError
from mm_kptm.knowledge.injection.characters import Characters
from mm_kptm.knowledge.lexicons.ngrams import N_GRAMS, Match, NgramLexicon
from mm_kptm.knowledge.objectives.masked_ngrams import MaskedTokensAmongNgrams
from mm_kptm.objectives.tokens import Bernoulli, Masking

TOKENIZER = Characters([*BERT_SPECIALS, *"北京大学生活动"])
BEIJING, UNIVERSITY, STUDENT, LIFE = [5, 6], [7, 8], [7, 8, 9], [9, 10]
LEXICON = NgramLexicon([BEIJING, UNIVERSITY, STUDENT, LIFE, [5], [5, 6, 7, 8, 9, 10, 11, 5], [5, 6, 7, 8, 9, 10, 11]])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_every_ngram_is_found_at_every_place() -> None:
    assert LEXICON.matches([2, 5, 6, 7, 8, 9, 10, 5, 6, 3]) == [
        Match(1, 2, 1),
        Match(3, 2, 2),
        Match(5, 2, 4),
        Match(7, 2, 1),
        Match(3, 3, 3),
    ]


def test_an_ngram_that_the_end_of_a_text_cuts_is_not_found() -> None:
    assert LEXICON.matches([7, 8]) == [Match(0, 2, 2)] and LEXICON.matches([7]) == []


def test_ngrams_of_one_token_or_of_more_than_seven_have_numbers_only() -> None:
    found = LEXICON.matches([5, 6, 7, 8, 9, 10, 11, 5])
    assert {match.number for match in found} == {1, 2, 3, 4, 7}
    assert len(LEXICON) == 8, "seven and the one that stands for none"


def test_of_two_that_are_alike_the_last_one_counts() -> None:
    assert NgramLexicon([[5, 6], [5, 6]]).matches([5, 6]) == [Match(0, 2, 2)]


def test_a_released_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "ngram.txt").write_text("北京,120\n大学,99\n学,生,3\n", encoding="utf-8")
    for path in (tmp_path, tmp_path / "ngram.txt"):
        lexicon = NgramLexicon.open(path, TOKENIZER)
        assert len(lexicon) == 4
        assert lexicon.matches([5, 6, 7, 8]) == [Match(0, 2, 1), Match(2, 2, 2)]
    assert lexicon.matches(TOKENIZER.encode("学,生").ids) == [Match(0, 3, 3)], "a comma may be part of an n-gram"


@pytest.mark.parametrize("line", ["北京", "北京,", ",4", "北京,x"])
def test_a_line_that_is_no_ngram_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "ngram.txt").write_text(f"大学,9\n{line}\n", encoding="utf-8")
    with pytest.raises(UserError, match=rf"ngram\.txt, line 2 should be an n-gram, a comma and a count, not '{line}'$"):
        NgramLexicon.open(tmp_path, TOKENIZER)


def test_a_missing_lexicon_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^n-grams were looked for in .*ngram\.txt, but there is no such file$"):
        NgramLexicon.open(tmp_path / "ngram.txt", TOKENIZER)


def test_ngrams_become_spans_of_the_batch() -> None:
    found = LEXICON.candidates(Tokens.of([[5, 6, 7], [2, 3], [7, 8, 9]]), seeded())
    assert found.layout.lengths == (1, 1, 2)
    assert found.spans.tolist() == [[0, 1], [-1, -1], [5, 6], [5, 7]]
    assert found.entities.tolist() == [[1], [0], [2], [3]]
    assert LEXICON.candidates(Tokens.of([]), seeded()).spans.shape == (0, 2)


def test_no_ngram_reaches_from_one_text_into_another() -> None:
    assert not LEXICON.candidates(Tokens.of([[5], [6]]), seeded()).entities.any()


def test_of_a_text_with_too_many_some_are_drawn() -> None:
    text = Tokens.of([[5, 6] * 30])
    drawn = [LEXICON.candidates(text, seeded(seed), most=7) for seed in range(50)]
    assert all(len(one.spans) == 7 == len(one.spans.unique(dim=0)) for one in drawn)
    assert len(torch.cat([one.spans for one in drawn]).unique(dim=0)) == 30, "any of them"
    again = LEXICON.candidates(text, seeded(3), most=7)
    assert torch.equal(again.spans, drawn[3].spans)


def test_a_hidden_token_hides_the_ngrams_that_hold_it() -> None:
    """Otherwise they would tell it."""
    inputs = Inputs(text=Tokens.of([[2, 5, 6, 7, 8, 9, 10, 3]] * 40))
    objective = MaskedTokensAmongNgrams(Masking(4, (5, 12), frozenset({2, 3}), Bernoulli(0.3), mask_share=1.0), LEXICON)
    batch = objective.prepare(inputs, seeded())
    assert batch.inputs.candidates is not None and batch.inputs.text is not None
    found = batch.inputs.candidates[N_GRAMS]
    hidden = set(batch.rows.tolist())
    covered = [set(range(first, last + 1)) for first, last in found.spans.tolist() if first >= 0]
    assert covered and hidden and all(not rows & hidden for rows in covered)
    whole = LEXICON.candidates(inputs.text, seeded())
    left = [span for span in whole.spans.tolist() if not set(range(span[0], span[1] + 1)) & hidden]
    assert sorted(left) == sorted(span for span in found.spans.tolist() if span[0] >= 0), "and no others"
    plain = objective.prepare(inputs, seeded())
    assert torch.equal(plain.inputs.candidates[N_GRAMS].spans, found.spans)
