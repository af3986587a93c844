"""LASER's tokenizer: Moses' words in lower case, and fastBPE's pairs within a vocabulary (Artetxe and Schwenk 2019).

Files: ``93langs.fcodes`` and ``93langs.fvocab`` of fastBPE. Ids are those of ``dictionary.json`` beside them,
the mapping ``dictionary`` of the published checkpoint, or count from 4 in the order of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mm_kptm.data.tokenizers.fastbpe import FastBpe, read_merges, read_words
from mm_kptm.data.tokenizers.moses import origins, prepared
from mm_kptm.data.tokenizers.protocol import Pieces, Specials
from mm_kptm.errors import UserError
from mm_kptm.io.records import Record, read_json

CODES, VOCABULARY, DICTIONARY = ".fcodes", ".fvocab", "dictionary.json"
SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>")
_END, _ONWARD = "</w>", "@@"


class LaserTokenizer:
    """From text to LASER's ids.

    A piece that the vocabulary lacks is taken apart, merge by merge, until the parts are in it (fastBPE with a
    vocabulary), where XLM's tokenizer has ``<unk>`` at once.

    Args:
        words: the pieces of the vocabulary.
        merges: merges of two symbols, best first.
        ids: id of every piece, special tokens included; None: four special tokens, then the words in their order.
        cut: whether texts are cut into lower-case words first; otherwise they are words between blanks already.

    Raises:
        UserError: the ids lack a special token, or are not 0, 1, 2 and so on.
    """

    def __init__(
        self,
        words: Sequence[str],
        merges: Sequence[tuple[str, str]],
        *,
        ids: Mapping[str, int] | None = None,
        cut: bool = True,
    ) -> None:
        self._ids = dict(ids) if ids is not None else {piece: n for n, piece in enumerate((*SPECIAL_TOKENS, *words))}
        if sorted(self._ids.values()) != list(range(len(self._ids))):
            raise UserError(f"the {len(self._ids)} ids of LASER's pieces must be 0, 1, 2 and so on, each once")
        if missing := [name for name in SPECIAL_TOKENS[1:] if name not in self._ids]:
            raise UserError(f"LASER's dictionary has no {missing[0]}; take that of the published checkpoint")
        self.vocabulary = tuple(sorted(self._ids, key=self._ids.__getitem__))
        pad, stop, unknown = (self._ids[name] for name in SPECIAL_TOKENS[1:])
        start = self._ids.get(SPECIAL_TOKENS[0], stop)
        self.specials = Specials(pad, unknown, start, stop, mask=unknown, opens=False)
        self.cut = cut
        self._known = frozenset(words)
        self._bpe = FastBpe(words, merges, lowercase=False)
        self._parts = {left + right: (left, right) for left, right in merges}

    @classmethod
    def open(cls, codes: str | Path, vocab: str | Path) -> LaserTokenizer:
        """From the published files.

        Raises:
            UserError: a file is missing, empty or no UTF-8; a line of the codes is no merge, the dictionary no mapping.
        """
        beside = Path(vocab).parent / DICTIONARY
        ids = None
        if beside.is_file():
            record = Record.of(read_json(beside), str(beside))
            ids = {piece: record.count(piece) for piece in record.values}
        return cls(list(read_words(Path(vocab))), list(read_merges(Path(codes))), ids=ids)

    def __len__(self) -> int:
        return len(self.vocabulary)

    def encode(self, text: str, language: str | None = None) -> Pieces:
        """The pieces of a text, with their character spans in the given text.

        Raises:
            UserError: a package that cuts texts in this language is not installed.
        """
        words = prepared(text, language) if self.cut else text
        places = origins(text, words) if self.cut else list(range(len(text)))
        ids, texts, spans = [], [], []
        whole = self._bpe.encode(words)
        for piece, (first, last) in zip(whole.texts, whole.spans, strict=True):
            symbol = piece.removesuffix(_ONWARD) if piece.endswith(_ONWARD) else piece + _END
            start = first
            for part in self._within(symbol):
                end = start + len(part.removesuffix(_ONWARD))
                ids.append(self._ids.get(part, self.specials.unknown))
                texts.append(part)
                spans.append((places[start], places[end - 1] + 1))
                start = end
            assert start == last
        return Pieces(tuple(ids), tuple(texts), tuple(spans))

    def _within(self, symbol: str) -> Iterator[str]:
        """The pieces of a symbol that are in the vocabulary, or cannot be taken apart further."""
        piece = symbol.removesuffix(_END) if symbol.endswith(_END) else symbol + _ONWARD
        if piece in self._known or symbol not in self._parts:
            yield piece
            return
        for part in self._parts[symbol]:
            yield from self._within(part)
