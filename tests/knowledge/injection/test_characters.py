import random
from pathlib import Path

import pytest
import torch

from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.errors import UserError
from mm_kptm.knowledge.injection.characters import Characters
from mm_kptm.knowledge.injection.sentence_tree import TokenWithFacts, TreeBuilder, spelling_of


def test_words_fall_into_characters_and_tags_do_not() -> None:
    pieces = Characters([*BERT_SPECIALS, "c", "a", "t", "小", "[ENT]"]).encode("[CLS] cat小C[ENT][SUB]")
    assert pieces.texts == ("[CLS]", "c", "a", "t", "小", "C", "[ENT]", "[SUB]")
    assert pieces.ids == (2, 5, 6, 7, 8, 1, 9, 1)
    assert pieces.spans[:3] == ((0, 5), (6, 7), (7, 8))


def test_many_texts_are_spelt_as_one_after_another() -> None:
    draw = random.Random(0)
    parts = ["小", "a", "[", "[CLS]", "[ENT]", "[ENT", " ", "\u3000", "\x1c", "\ud800", "😀", "b]", "\U0010ffff"]
    texts = ["".join(draw.choices(parts, k=draw.randint(0, 5))) for _ in range(400)]
    for vocabulary in ([*BERT_SPECIALS, "a", "小", "[ENT]"], [*BERT_SPECIALS, "[", "😀"]):
        characters = Characters(vocabulary)
        singly = [list(characters.encode(text).ids) for text in texts]
        assert [characters(text) for text in texts] == singly
        for some in (texts, ["a", "小小"], ["a b"], ["", ""], []):
            ids, lengths = characters.many(some)
            expected = [list(characters.encode(text).ids) for text in some]
            assert lengths.tolist() == list(map(len, expected))
            assert ids.tolist() == [number for text in expected for number in text]


def test_trees_of_characters_are_the_same_spelt_at_once_or_not() -> None:
    characters = Characters([*BERT_SPECIALS, *"小猫吃鱼动物"])
    facts = {"小猫": ["是动物", " ", "吃鱼"], "  ": ["鱼"]}
    sentences = [["[CLS]", "小猫", "吃", "鱼"], ["  ", TokenWithFacts("猫", ("动 物", "")), "小猫"]]
    at_once, singly = (
        TreeBuilder(spelling, lambda word: facts.get(word, ()), max_facts=3)(sentences)
        for spelling in (spelling_of(characters), lambda text: characters.encode(text).ids)
    )
    for part in ("ids", "positions", "words", "branches"):
        assert torch.equal(getattr(at_once, part), getattr(singly, part))
    assert at_once.layout == singly.layout


def test_a_vocabulary_file_numbers_its_lines(tmp_path: Path) -> None:
    file = tmp_path / "vocab.txt"
    file.write_bytes("\r\n".join([*BERT_SPECIALS, "", "a 17", "b", "a", ""]).encode())
    characters = Characters.open(file)
    assert len(characters) == 9
    assert characters.encode("ab").ids == (8, 7)  # the last place of a token that is there twice


def test_a_vocabulary_without_special_tokens_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\na\n")
    with pytest.raises(UserError, match=r"vocab\.txt has no \[CLS\], \[SEP\], \[MASK\]; K-BERT's vocabulary holds"):
        Characters.open(tmp_path / "vocab.txt")
    with pytest.raises(UserError, match=r"looked for in .*none\.txt, but there is no such file"):
        Characters.open(tmp_path / "none.txt")
