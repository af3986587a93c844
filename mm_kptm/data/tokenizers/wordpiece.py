"""WordPiece tokenizer with character offsets.

Every tokenizer of the suite returns :class:`Pieces` from :meth:`Tokenizer.encode` and has the same five special tokens,
so that sources, masking and entity linking do not depend on the kind of tokenizer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer as Engine
from tokenizers import models, normalizers, pre_tokenizers

from mm_kptm.data.packing import Packed
from mm_kptm.data.tokenizers.basic import BasicTokenizer
from mm_kptm.data.tokenizers.batch import STARTS, STOPS, from_encodings
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS, Pieces, Specials
from mm_kptm.errors import UserError
from mm_kptm.io.text_lines import read_text

#: Text of which the engine makes the same words as :class:`~mm_kptm.data.tokenizers.basic.BasicTokenizer`, faster:
#: ASCII, the Latin and Cyrillic letters of Europe, kana, hangul, common ideographs and full-width forms.
PLAIN = re.compile(
    r"[\x00-\x7f\xa0-\u024f\u0400-\u0482\u048a-\u04ff\u2010-\u2027\u3001-\u3020\u3041-\u3096\u30a1-\u30fa"
    r"\u4e00-\u9fa5\uac00-\ud7a3\uff01-\uff5e]*"
)


class WordPiece:
    """BERT's tokenizer: clean, split at spaces, punctuation and ideographs, then greedy longest match.

    The behaviour of the released ``FullTokenizer`` (Devlin et al. 2019) on every code point. A word without match, or
    of more than ``longest_word`` characters (200 there, 100 in Hugging Face's), becomes ``[UNK]`` as a whole. Markers
    such as ``[MASK]`` inside a text are plain text.

    Args:
        vocabulary: every piece; its place is its id (the last place of one that is there twice).
        lowercase: lower-case and strip accents, as uncased models do; cased ones do neither.
        ideographs: split at ideographs; ERNIE of Tsinghua does not.
        name: origin of the vocabulary, for error messages.

    Raises:
        UserError: a special token is missing.
    """

    def __init__(
        self,
        vocabulary: Sequence[str],
        *,
        lowercase: bool,
        ideographs: bool = True,
        longest_word: int = 200,
        name: str = "the vocabulary",
    ) -> None:
        self.vocabulary = tuple(vocabulary)
        ids = {piece: place for place, piece in enumerate(self.vocabulary)}
        self.specials = _specials(ids, name)
        self._basic = BasicTokenizer(lowercase=lowercase, ideographs=ideographs)
        # the engine cleans and cuts plain text at once; of other text it only cuts the words that it is given
        model = models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=longest_word)
        self._plain, self._words = Engine(model), Engine(model)
        self._plain.normalizer = normalizers.BertNormalizer(
            clean_text=True, handle_chinese_chars=ideographs, strip_accents=lowercase, lowercase=lowercase
        )
        self._plain.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        self._words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()

    @classmethod
    def open(cls, path: str | Path, *, lowercase: bool, ideographs: bool = True, longest_word: int = 200) -> WordPiece:
        """From a ``vocab.txt``, or from a folder that holds one.

        Raises:
            UserError: there is none, it is empty or no UTF-8, or it is no vocabulary of this kind.
        """
        file = Path(path)
        if file.is_dir():
            file /= "vocab.txt"
        if not file.is_file():
            raise UserError(f"a vocabulary was looked for in {file}, but there is no such file")
        text = read_text(file, "a vocabulary of one piece a line", allow_empty=True)
        pieces = [line.strip() for line in text.removesuffix("\n").split("\n")]  # U+2028 is a piece, no line end
        if not any(pieces):
            raise UserError(f"{file} is empty; a vocabulary has one piece a line")
        return cls(pieces, lowercase=lowercase, ideographs=ideographs, longest_word=longest_word, name=str(file))

    def __len__(self) -> int:
        return len(self.vocabulary)

    def encode(self, text: str, language: str | None = None) -> Pieces:
        """The pieces of a text in any language."""
        if PLAIN.fullmatch(text):
            encoded = self._plain.encode(text, add_special_tokens=False)
            return Pieces(tuple(encoded.ids), tuple(encoded.tokens), tuple(encoded.offsets))
        words, places = self._basic(text)
        encoded = self._words.encode(words, add_special_tokens=False)
        spans = tuple((places[first], places[end - 1] + 1) for first, end in encoded.offsets)
        return Pieces(tuple(encoded.ids), tuple(encoded.tokens), spans)

    def encode_batch(self, texts: Sequence[str]) -> Packed:
        """The pieces of many texts, as :func:`~mm_kptm.data.tokenizers.batch.encode_batch` gives them."""
        if not texts:
            return from_encodings([])
        plain = [place for place, text in enumerate(texts) if PLAIN.fullmatch(text)]
        others = sorted(set(range(len(texts))) - set(plain))
        parts = [from_encodings(self._plain.encode_batch([texts[place] for place in plain], add_special_tokens=False))]
        cut = [self._basic(texts[place]) for place in others]
        found = from_encodings(self._words.encode_batch([words for words, _ in cut], add_special_tokens=False))
        for (_, places), first, end in zip(cut, found.offsets[:-1], found.offsets[1:], strict=True):
            at = np.asarray(places, dtype=np.int32)
            starts, stops = found.columns[STARTS][first:end], found.columns[STOPS][first:end]
            starts[:], stops[:] = at[starts], at[stops - 1] + 1
        parts.append(found)
        order = np.empty(len(texts), np.int64)
        order[[*plain, *others]] = np.arange(len(texts))
        columns, lengths = Packed.joined(*parts).take(order)
        return Packed(np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)]), columns)


def _specials(ids: Mapping[str, int], name: str) -> Specials:
    missing = [special for special in BERT_SPECIALS if special not in ids]
    if missing:
        raise UserError(f"{name} has no {', '.join(missing)}; a vocabulary holds {', '.join(BERT_SPECIALS)}")
    return Specials(*(ids[special] for special in BERT_SPECIALS))
