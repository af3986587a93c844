"""Where the language code of a text stands."""

from mm_kptm.crosslingual.objectives.language_codes import code_last, last_moved_first, written


def test_a_decoder_reads_the_language_first_and_predicts_it_last() -> None:
    labels = code_last([[7, 8]], stop=2, code=57)
    assert last_moved_first(labels) == [[57, 7, 8, 2]]
    assert written(labels).ids.tolist() == [57, 7, 8, 2, 57]
