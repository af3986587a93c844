"""Byte-level BPE from the two files that GPT-2 and RoBERTa published: the ids of the pieces, and the merges.

Hugging Face calls the files ``vocab.json`` and ``merges.txt``, fairseq ``encoder.json`` and ``vocab.bpe``. fairseq's
numbers are those of GPT-2, which lack special tokens; a third file, ``dict.txt``, gives the pieces the numbers that
RoBERTa has for them.
"""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer as Engine
from tokenizers import decoders, models, pre_tokenizers

from mm_kptm.data.tokenizers.tokenizer_json import ROBERTA_SPECIALS, TokenizerJson, check_numbers
from mm_kptm.errors import UserError
from mm_kptm.io.records import Record, expected, read_json
from mm_kptm.io.text_lines import read_text

_BEFORE, _BEHIND = ("<s>", "<pad>", "</s>", "<unk>"), "<mask>"  # of the pieces in fairseq's dictionary


def open_byte_level(numbers: Path, merges: Path, words: Path | None = None) -> TokenizerJson:
    """The tokenizer of GPT-2 and RoBERTa (Radford et al. 2019, section 2.2; Liu et al. 2019, section 4.4).

    Args:
        numbers: a JSON object, the number of every piece.
        merges: two pieces a line, best first, perhaps behind a line that names a version.
        words: fairseq's ``dict.txt``, the first of which has id 4; each is given by its number in ``numbers``.

    Raises:
        UserError: a file is missing or of another kind, the files do not belong together, or there are no special
            tokens.
    """
    ids = _numbers(numbers)
    if words is not None:
        ids = _renumbered(ids, words)
    if missing := [special for special in ROBERTA_SPECIALS if special not in ids]:
        raise UserError(
            f"{numbers} has no {', '.join(missing)}; where it numbers pieces as GPT-2 does, fairseq's dict.txt belongs "
            "beside it"
        )
    try:
        engine = Engine(models.BPE(ids, _merges(merges)))
    except Exception as error:  # the library raises nothing narrower
        raise UserError(f"{merges} and {numbers} do not belong together: {error}") from None
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.decoder = decoders.ByteLevel()
    return TokenizerJson(engine, name=str(numbers))


def _numbers(file: Path) -> dict[str, int]:
    held = Record.of(read_json(file), str(file))
    numbers = {piece: expected(number, int, f"{file}: {piece!r}") for piece, number in held.values.items()}
    check_numbers(numbers.values(), str(file))
    return numbers


def _renumbered(ids: dict[str, int], words: Path) -> dict[str, int]:
    """The ids of fairseq's dictionary; entries that are no numbers are special tokens."""
    pieces = {str(number): piece for piece, number in ids.items()}
    listed = [line.split(" ")[0] for line in read_text(words, "a piece and its count a line").split("\n") if line]
    for place, word in enumerate(listed, 1):
        if word.isdecimal() and word not in pieces:
            raise UserError(f"{words}, line {place}: there is no piece {word} among the {len(pieces)} of encoder.json")
    renumbered = [*_BEFORE, *(pieces.get(word, word) for word in listed), _BEHIND]
    return {piece: number for number, piece in enumerate(renumbered)}


def _merges(file: Path) -> list[tuple[str, str]]:
    found = []
    for place, line in enumerate(read_text(file, "two pieces a line").split("\n"), 1):
        if not line.strip() or (place == 1 and line.startswith("#version")):
            continue
        parts = line.rstrip("\r").split(" ")
        if len(parts) != 2 or not all(parts):
            raise UserError(f"{file}, line {place}: a merge is two pieces with a blank between, not {line[:40]!r}")
        found.append((parts[0], parts[1]))
    return found
