import pytest

from mm_kptm.data.masking.units import closed, continued, labelled, whole_words, within_spans
from mm_kptm.errors import UserError


def test_a_first_piece_that_continues_nothing_opens_a_word() -> None:
    assert whole_words(["[CLS]", "##a", "##b", "c", "[SEP]"]) == [-1, 0, 0, 1, -1]


def test_a_separator_does_not_end_a_word() -> None:
    """As in the released script, whose groups know nothing of the separators that they pass over."""
    assert whole_words(["a", "[SEP]", "##b"]) == [0, -1, 0]


def test_pieces_that_are_not_separators_by_name_are_words() -> None:
    assert whole_words(["<s>", "a", "##b"], alone=frozenset({"<s>"})) == [-1, 0, 0]


def test_marks_make_the_words_of_a_segmenter() -> None:
    characters = list("使用语言模型。")
    marked = continued(characters, ["使用", "语言", "模型", "。"])
    assert whole_words(marked) == [0, 0, 1, 1, 2, 2, 3]
    assert [piece.removeprefix("##") for piece in marked] == characters


def test_words_of_another_sentence_are_refused() -> None:
    with pytest.raises(UserError, match="the words '使 用词' are not made of the characters '使用'"):
        continued(["使", "用"], ["使", "用词"])


def test_spans_join_the_pieces_inside_them() -> None:
    pieces = [(0, 3), (4, 7), (7, 9), (10, 12), (12, 14)]
    assert within_spans(pieces, []) == [0, 1, 2, 3, 4]
    assert within_spans(pieces, [(4, 14)]) == [0, 1, 1, 1, 1]
    assert within_spans(pieces, [(10, 14), (4, 9)]) == [0, 1, 1, 2, 2]


def test_a_piece_across_the_end_of_a_span_stays_alone() -> None:
    assert within_spans([(0, 3), (3, 6)], [(0, 4)]) == [0, 1]


def test_of_two_overlapping_spans_the_first_counts() -> None:
    assert within_spans([(0, 1), (1, 2), (2, 3)], [(0, 2), (1, 3)]) == [0, 0, 1]


def test_a_piece_without_characters_is_in_no_span() -> None:
    assert within_spans([(2, 2), (2, 3)], [(0, 4)]) == [0, 1]


def test_labels_open_continue_and_leave_units() -> None:
    assert labelled([]) == []
    assert labelled([0, 1, 1, 0, -1, 1, 0]) == [0, 0, 0, 1, -1, 2, 3]


def test_the_released_code_looks_at_units_that_something_closes() -> None:
    assert closed([0, 1, 0, 1, -1]) == [-1, -1, 0, 0, -1], "none begins at place 0"
    assert closed([-1, 0, 1, 0, 1]) == [-1, 0, 0, -1, -1], "the last one has no end"
    assert closed([-1, 1, 0, -1]) == [-1, -1, 0, -1], "a piece that continues nothing"
    between_separators = [-1, 0, 1, 0, -1, 0, 1, 1, -1]
    assert closed(between_separators) == labelled(between_separators)
