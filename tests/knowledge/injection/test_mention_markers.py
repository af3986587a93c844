from dataclasses import replace

import pytest

from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.data.tokenizers.wordpiece import WordPiece
from mm_kptm.errors import UserError
from mm_kptm.knowledge.injection.entity_grid import Mention, first_pieces
from mm_kptm.knowledge.injection.mention_markers import (
    Annotated,
    Annotator,
    confident,
    from_the_start,
    mark_linked_pair,
    mark_pair,
    mark_target,
)

WORDS = ["ann", "met", "bob", "in", "rome", "today", "#", "$", "。", "."]
TOKENIZER = WordPiece([*BERT_SPECIALS, *WORDS], lowercase=True, ideographs=False)
TEXT = "ann met bob in rome ."
ANN, BOB, ROME = Mention("Qa", 0, 3), Mention("Qb", 8, 11), Mention("Qr", 15, 19)
NUMBERS = {"Qa": 0, "Qb": 1, "Qr": 2}


def names(annotated: Annotated) -> list[str]:
    return [annotated.text[mention.start : mention.end] for mention in annotated.mentions]


def test_mentions_move_with_the_marks() -> None:
    assert mark_target(TEXT, 8, 11, [ANN, BOB, ROME]).text == "ann met 。 bob 。 in rome ."
    assert names(mark_target(TEXT, 8, 11, [ANN, BOB, ROME])) == ["ann", "bob", "rome"]
    assert mark_pair(TEXT, ROME, ANN, [ANN, BOB, ROME]).text == "$ ann $ met bob in # rome # ."
    assert names(mark_pair(TEXT, ROME, ANN, [ANN, BOB, ROME])) == ["ann", "bob", "rome"]
    assert mark_linked_pair(TEXT, ANN, BOB).text == "# ann # met $ bob $ in rome ."
    assert names(mark_linked_pair(TEXT, ANN, BOB)) == names(mark_linked_pair(TEXT, BOB, ANN)) == ["ann", "bob"]


def test_a_mention_that_touches_the_mark_is_lost_as_in_the_released_code() -> None:
    text, touching = "ann'rome", Mention("Qr", 3, 8)
    assert mark_target(text, 0, 3, [touching]).mentions[0].start == 5  # the blank before the closing stop


def test_texts_become_tokens_with_entities() -> None:
    gridded = Annotator(TOKENIZER, NUMBERS)(mark_pair(TEXT, ANN, BOB, [ANN, ROME]))
    assert gridded is not None
    assert [TOKENIZER.vocabulary[token] for token in gridded.ids] == [
        *("[CLS]", "#", "ann", "#", "met", "$", "bob", "$", "in", "rome", ".", "[SEP]")
    ]
    assert gridded.entities == (-1, -1, 0, -1, -1, -1, -1, -1, -1, 2, -1, -1)


def test_entities_stand_at_their_words_where_there_is_no_start_token() -> None:
    bare = WordPiece([*BERT_SPECIALS, *WORDS], lowercase=True, ideographs=False)
    bare.specials = replace(bare.specials, opens=False)
    gridded = Annotator(bare, NUMBERS, max_length=12)(mark_pair(TEXT, ANN, BOB, [ANN, ROME]))
    assert gridded is not None
    words = " ".join(bare.vocabulary[one] for one in gridded.ids)
    assert words == "# ann # met $ bob $ in rome . [SEP]"
    assert gridded.entities == (-1, 0, -1, -1, -1, -1, -1, -1, 2, -1, -1)


def test_an_entity_without_a_number_is_none() -> None:
    gridded = Annotator(TOKENIZER, {"Qr": 7})(mark_pair(TEXT, ANN, BOB, [ANN, ROME]))
    assert gridded is not None
    assert set(gridded.entities) == {-1, 7}


def test_another_placement_finds_what_begins_inside_a_word() -> None:
    text = "met .rome"
    annotated = Annotated(text, (Mention("Qr", 5, 9),))
    strict, open_ = (Annotator(TOKENIZER, NUMBERS, **rule)(annotated) for rule in ({}, {"place": first_pieces}))
    assert strict is not None
    assert open_ is not None
    assert 2 not in strict.entities
    assert open_.entities.index(2) == 3


def test_a_cut_text_keeps_its_frame_and_loses_a_target_behind_the_cut() -> None:
    annotate = Annotator(TOKENIZER, NUMBERS, max_length=6)
    kept = annotate(mark_target(TEXT, 8, 11, [BOB]))
    assert kept is not None
    assert [TOKENIZER.vocabulary[token] for token in kept.ids] == ["[CLS]", "ann", "met", "。", "bob", "[SEP]"]
    assert kept.entities == (-1, -1, -1, -1, 1, -1)
    assert annotate(mark_target(TEXT, 15, 19, [])) is None


def test_doubtful_mentions_are_left_out() -> None:
    sure, unsure = Mention("Qa", 0, 3, 0.31), Mention("Qb", 8, 11, 0.3)
    assert confident([sure, unsure], 0.3) == (sure,)


def test_a_mention_from_the_second_character_begins_at_the_first() -> None:
    assert from_the_start(Mention("Qa", 1, 4)).start == 0
    assert from_the_start(Mention("Qa", 2, 4)).start == 2


def test_spans_that_do_not_fit_are_said() -> None:
    with pytest.raises(UserError, match="characters 15 to 99 were to be marked in a text of 21 characters"):
        mark_target(TEXT, 15, 99, [])
    with pytest.raises(UserError, match="characters 3 to 3 were to be marked"):
        mark_pair(TEXT, ANN, Mention("Qb", 3, 3), [])
    with pytest.raises(UserError, match=r"max_length is 2, which leaves no room between \[CLS\] and \[SEP\]; 3 is"):
        Annotator(TOKENIZER, NUMBERS, max_length=2)
