"""From texts to pieces with candidates."""

from collections.abc import Sequence

import pytest

from mm_kptm.errors import UserError
from mm_kptm.knowledge.injection.candidate_spans import CandidateWordSpans, Spanner, batch
from mm_kptm.knowledge.linking.candidates import CandidateSpan

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "par", "##is", "in", "é", "!", "rome"]


def capitals(words: Sequence[str]) -> list[CandidateSpan]:
    return [CandidateSpan(n, n, (word,), (1.0,)) for n, word in enumerate(words) if word[:1].isupper()]


def pairs(words: Sequence[str]) -> list[CandidateSpan]:
    return [CandidateSpan(0, 1, ("x", "y"), (0.5, 0.5))] if len(words) > 1 else []


SPANNER = Spanner(CandidateWordSpans(VOCABULARY), {"wiki": capitals, "pairs": pairs}, max_length=10)


def test_words_keep_their_case_and_specials_stay_whole() -> None:
    words = CandidateWordSpans(VOCABULARY)
    assert words("In Paris! [MASK] é") == ["In", "Paris", "!", "[MASK]", "é"]
    assert [words.pieces(word) for word in ("PARIS", "[MASK]", "é", "Oslo")] == [
        ["par", "##is"],
        ["[MASK]"],
        ["é"],
        ["[UNK]"],
    ]
    assert CandidateWordSpans(VOCABULARY, lowercase=False).pieces("Paris") == ["[UNK]"]


def test_spans_of_words_become_spans_of_pieces() -> None:
    text = SPANNER("in Paris", "Paris Rome")
    assert text.pieces == ("[CLS]", "in", "par", "##is", "[SEP]", "par", "##is", "rome", "[SEP]")
    assert text.segments == (0,) * 5 + (1,) * 4
    assert [(span.first, span.last, span.entities) for span in text.spans["wiki"]] == [
        (2, 3, ("Paris",)),
        (5, 6, ("Paris",)),
        (7, 7, ("Rome",)),
    ]
    assert [(span.first, span.last) for span in text.spans["pairs"]] == [(1, 3), (5, 7)]


def test_whole_words_are_cut_off_before_candidates_are_looked_up() -> None:
    text = SPANNER("in Paris Paris Paris Paris")
    assert text.words == (("in", "Paris", "Paris", "Paris"),)
    both = SPANNER("in Paris Paris", "in Paris Paris")
    assert [len(part) for part in both.words] == [2, 2]
    assert len(both.pieces) == 9
    assert len(both.spans["wiki"]) == 2


def test_a_batch_has_rows_for_spans_and_a_blank_one_where_there_are_none() -> None:
    inputs = batch([SPANNER("in"), SPANNER("in Paris"), SPANNER("Rome in")], {"wiki": {"Paris": 7}, "pairs": {"x": 5}})
    assert inputs.candidates is not None
    wiki, two = inputs.candidates["wiki"], inputs.candidates["pairs"]
    assert wiki.spans.tolist() == [[-1, -1], [5, 6], [9, 9]]
    assert wiki.entities.tolist() == [[0], [7], [1]], "an entity without a number is unknown"
    assert two.layout.lengths == (1, 1, 1)
    assert two.entities.tolist() == [[0, 0], [5, 1], [5, 1]]
    assert two.priors.tolist() == [[1.0, 0.0], [0.5, 0.5], [0.5, 0.5]]


def test_texts_that_cannot_be_cut_are_refused() -> None:
    with pytest.raises(UserError, match=r"max_length is 2, which leaves no room between \[CLS\] and \[SEP\]; 3 is the"):
        Spanner(CandidateWordSpans(VOCABULARY), {}, max_length=2)
    with pytest.raises(UserError, match=r"the vocabulary has no \[PAD\]; one holds \[PAD\], \[UNK\]"):
        CandidateWordSpans(VOCABULARY[1:])
