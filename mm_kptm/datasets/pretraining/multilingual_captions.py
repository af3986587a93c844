"""Captions in several languages: beside their translations, and with words switched into other languages."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mm_kptm.batch import Inputs
from mm_kptm.crosslingual.corpora.caption_switching import CaptionSwitcher, Translations
from mm_kptm.data.formats.vision.translated_captions import TranslatedCaption
from mm_kptm.data.packing import Packed
from mm_kptm.data.text_store import StoredTexts
from mm_kptm.data.tokenizers.protocol import Pieces, Tokenizer, framed
from mm_kptm.errors import UserError
from mm_kptm.io.records import Record, read_json
from mm_kptm.preprocessing.inputs import InputSource
from mm_kptm.preprocessing.text import TextEncoding, shortened

NO_PARTNER = -1  #: mask group of a token of the translation that no word of the caption is aligned to


def caption_pairs(
    examples: Sequence[TranslatedCaption], encoding: TextEncoding, place: Callable[[InputSource], InputSource]
) -> InputSource:
    """Captions and translations in a row, ``[CLS] a [SEP] [CLS] b [SEP]``, whose positions begin again.

    Args:
        examples: the pairs.
        encoding: tokenizer and length of both together.
        place: joins texts with their images.
    """
    specials = encoding.tokenizer.specials
    ids: list[list[int]] = []
    groups: list[list[int]] = []
    positions: list[list[int]] = []
    languages: list[list[str]] = []
    for one in examples:
        sides = [
            encoding.tokenizer.encode(text, language)
            for text, language in zip((one.caption, one.translation), one.languages, strict=True)
        ]
        kept = shortened(sides[0].ids, sides[1].ids, room=encoding.max_length - 2 * specials.around(1))
        words = [_words(text, side) for text, side in zip((one.caption, one.translation), sides, strict=True)]
        opened = [NO_PARTNER] * specials.opens
        first = [*opened, *words[0][: len(kept[0])], NO_PARTNER]
        partner = {other: word for word, other in reversed(one.aligned)}
        second = [*opened, *(partner.get(word, NO_PARTNER) for word in words[1][: len(kept[1])]), NO_PARTNER]
        both = [framed(specials, side)[0] for side in kept]
        ids.append([*both[0], *both[1]])
        groups.append([*first, *second])
        positions.append([place for side in both for place in range(len(side))])
        languages.append([language for side, language in zip(both, one.languages, strict=True) for _ in side])
    columns: dict[str, Sequence[Sequence[int]]] = {"ids": ids, "positions": positions, "units": groups}
    if encoding.languages:
        numbers = {language: number for number, language in enumerate(encoding.languages)}
        if strange := sorted({one for row in languages for one in row} - numbers.keys()):
            raise UserError(f"a caption is in {strange[0]!r}, but data.languages has {', '.join(encoding.languages)}")
        columns["languages"] = [[numbers[language] for language in row] for row in languages]
    return place(InputSource(Packed.of(**columns)))


def _words(text: str, pieces: Pieces) -> list[int]:
    """The word, counted between blanks, that each piece begins in."""
    starts = np.cumsum([0, *(len(word) for word in text.split())])
    blanks = np.cumsum([character.isspace() for character in text])  # characters before each that are blanks
    return [int(np.searchsorted(starts, begin - int(blanks[begin]), side="right")) - 1 for begin, _ in pieces.spans]


@dataclass(frozen=True, eq=False)
class SwitchedCaptions:
    """Captions with images, of which words are switched into other languages anew in every batch (M3P).

    Args:
        captions: the captions as they are, with their images.
        texts: their words.
        tokenizer: of captions in any language.
        max_length: tokens of a caption, special ones included.
        dictionary: translations of words by language.
        sentence_rate: share of the captions that are switched.
        word_rate: share of the known words of these that are; None: one word, as in masked pretraining.
    """

    captions: InputSource
    texts: Sequence[str] | StoredTexts
    tokenizer: Tokenizer
    max_length: int
    dictionary: dict[str, Translations]
    sentence_rate: float = 0.8
    word_rate: float | None = None

    def __len__(self) -> int:
        return len(self.captions)

    def length(self, index: int) -> int:
        """Tokens and regions of a caption as it was."""
        return self.captions.length(index)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Inputs:
        """The captions of the given indices, switched."""
        seed = int(torch.randint(2**31, (1,), generator=generator))
        switcher = CaptionSwitcher(
            self.dictionary,
            sentence_rate=self.sentence_rate,
            word_rate=1.0 if self.word_rate is None else self.word_rate,
            generator=random.Random(seed),
            choices=np.random.RandomState(seed),
        )
        switch = (lambda text: switcher.one_word(text)[0]) if self.word_rate is None else switcher.words
        specials = self.tokenizer.specials
        room = self.max_length - specials.around(1)
        said = [self.tokenizer.encode(switch(self.texts[index])).ids[:room] for index in indices]
        ids = [framed(specials, one)[0] for one in said]
        texts = InputSource(Packed.of(ids=ids, positions=[range(len(one)) for one in ids]))
        shown = self.captions.batch(indices, generator)
        return shown.with_streams(text=texts.batch(range(len(ids)), generator).text)


def read_translations(path: Path) -> dict[str, Translations]:
    """A dictionary of captions: JSON from a word to languages to lists of translations.

    Raises:
        UserError: the file cannot be read, or has another form.
    """
    whole = Record.of(read_json(path), str(path))
    found: dict[str, Translations] = {}
    for word, languages in whole.values.items():
        record = Record.of(languages, f"{path}, {word}")
        found[word] = {language: record.texts(language) for language in record.values}
    if not found:
        raise UserError(f"{path} holds no word; translations of words by language were expected")
    return found
