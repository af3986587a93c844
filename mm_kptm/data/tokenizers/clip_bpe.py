"""Byte-pair encoding of CLIP: pieces end words by a mark, texts are cleaned and lower-cased first."""

from __future__ import annotations

import gzip
import html
import zlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from tokenizers import Regex, models, pre_tokenizers
from tokenizers import Tokenizer as Engine

from mm_kptm.data.tokenizers.protocol import Pieces, Specials
from mm_kptm.errors import UserError
from mm_kptm.io.records import Json, Record, expected, read_json
from mm_kptm.io.text_lines import read_text

PUBLISHED = "bpe_simple_vocab_16e6.txt.gz"  #: the released merges, which open_clip brings along
START, END = "<|startoftext|>", "<|endoftext|>"
_MERGES = 48894  #: of the published file the rest is left out
_WORD = r"(?i)'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


class ClipBpe:
    """The tokenizer of Radford et al. (2021, section 2.4).

    Ids are 256 bytes, the same bytes at the end of a word, the merges, start and end. The span of a piece counts the
    characters of the cleaned text (:meth:`cleaned`), which is the text itself where that is clean and lower-case.

    Args:
        merges: pairs of pieces, best first.
        name: their origin, for error messages.

    Raises:
        UserError: a merge joins pieces that are not there before.
    """

    def __init__(self, merges: Sequence[tuple[str, str]], *, name: str = "the merges") -> None:
        letters = _byte_letters()
        vocabulary = [*letters, *(f"{one}</w>" for one in letters), *("".join(pair) for pair in merges)]
        self.vocabulary = (*vocabulary, START, END)
        ids = {piece: number for number, piece in enumerate(vocabulary)}
        for number, (left, right) in enumerate(merges):
            if left not in ids or right not in ids:
                raise UserError(f"{name}: merge {number} joins {left!r} and {right!r}, which are no pieces")
        self._engine = Engine(models.BPE(ids, list(merges), end_of_word_suffix="</w>"))
        split = pre_tokenizers.Split(Regex(_WORD), behavior="removed", invert=True)
        self._engine.pre_tokenizer = pre_tokenizers.Sequence(
            [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
        )
        start, end = len(vocabulary), len(vocabulary) + 1
        self.specials = Specials(pad=0, unknown=end, start=start, stop=end, mask=end)

    @classmethod
    def open(cls, path: str | Path) -> ClipBpe:
        """From a file of merges, compressed or not, or a ``tokenizer.json`` that holds them.

        Raises:
            UserError: there is none, or a line is no merge.
        """
        file = Path(path)
        if file.suffix == ".json":
            model = Record.of(Record.of(read_json(file), str(file)).get("model", dict), f"{file}, model")
            lines = [
                one if isinstance(one, str) else " ".join(map(str, _pair(one, file))) for one in model.items("merges")
            ]
        else:
            lines = _lines(file)
        pairs = []
        for number, line in enumerate(lines, 1):
            parts = line.split(" ")
            if len(parts) != 2 or not all(parts):
                raise UserError(f"{file}: merge {number} is {line[:40]!r}, but it must be two pieces, a blank between")
            pairs.append((parts[0], parts[1]))
        return cls(pairs, name=str(file))

    def __len__(self) -> int:
        return len(self.vocabulary)

    @property
    def words(self) -> tuple[str, ...]:
        """The pieces without the mark of a word's end; several bytes may be one letter."""
        return tuple(piece.removesuffix("</w>") for piece in self.vocabulary)

    def cleaned(self, text: str) -> str:
        """The text as it is cut: mended, without entities of HTML, in lower case, blanks squeezed."""
        import ftfy

        mended = html.unescape(html.unescape(ftfy.fix_text(text)))
        return " ".join(mended.split()).lower()

    def encode(self, text: str, language: str | None = None) -> Pieces:
        """The pieces of a text in any language."""
        encoded = self._engine.encode(self.cleaned(text), add_special_tokens=False)
        return Pieces(tuple(encoded.ids), tuple(encoded.tokens), tuple(encoded.offsets))


def published_merges() -> Path:
    """The released file of merges in the package open_clip.

    Raises:
        UserError: the package is not installed.
    """
    spec = find_spec("open_clip")
    if spec is None or spec.origin is None:
        raise UserError(f"{PUBLISHED} was looked for in the package open_clip, which is not installed")
    return Path(spec.origin).parent / PUBLISHED


def is_clip(vocabulary: object) -> bool:
    """Whether the pieces of a ``vocab.json`` or ``tokenizer.json`` are those of CLIP."""
    return isinstance(vocabulary, dict) and (START in vocabulary or "<start_of_text>" in vocabulary)


def ends_words(merges: Path) -> bool:
    """Whether a file of merges marks the ends of words as CLIP does, and GPT-2 does not."""
    try:
        return any("</w>" in line for line in read_text(merges, "two pieces a line").split("\n", 100)[:100])
    except UserError:
        return False


def _lines(file: Path) -> list[str]:
    """The merges of a file, without its header."""
    if file.suffix == ".gz":
        try:
            text = gzip.decompress(file.read_bytes()).decode("utf-8")
        except (OSError, UnicodeDecodeError, EOFError, zlib.error) as error:
            raise UserError(f"{file} is no file of merges: {error}") from None
    else:
        text = read_text(file, "two pieces a line")
    return [line.rstrip("\r") for line in text.split("\n")[1:] if line.strip()][:_MERGES]


def _byte_letters() -> list[str]:
    """A printable letter for every byte, printable bytes first, as in GPT-2."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + number) for number in range(len(others))]


def _pair(merge: Json, file: Path) -> list[Json]:
    return expected(merge, list, f"{file}: a merge")
