"""Token corpora on disk: texts of many languages as memory-mapped streams of ids, built once and read in blocks.

A corpus is a folder with

- ``tokens.npy``: the ids of all languages, one after the other; each line of text is followed by the stop token, [T];
- ``corpus.json``: the languages in order with their numbers of tokens and lines, and what the corpus was built from.

Neither building nor reading needs memory for the text: lines are written as they are read, blocks are looked up where
they lie (Conneau and Lample 2019, section 5.1, cut text into streams of 256 tokens).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib.format import write_array_header_1_0
from numpy.typing import NDArray

from mm_kptm.data.tokenizers.batch import encode_ids
from mm_kptm.data.tokenizers.protocol import Tokenizer
from mm_kptm.errors import UserError
from mm_kptm.io.arrays import release_pages
from mm_kptm.io.atomic import atomic_folder, write_json
from mm_kptm.io.records import Record, read_json
from mm_kptm.io.text_lines import numbered_lines

TOKENS, INDEX = "tokens.npy", "corpus.json"
LINES = 512  #: lines that are cut at a time


def build_corpus(files: Mapping[str, Path], tokenizer: Tokenizer, folder: Path, *, source: Mapping[str, str]) -> None:
    """Write the corpus of some files.

    Args:
        files: UTF-8 text, packed or not, a sentence or paragraph a line, by language.
        tokenizer: cuts the lines.
        folder: that does not exist yet; it appears when the corpus is whole.
        source: digests of the files and the tokenizer; a corpus of others is refused when it is opened.

    Raises:
        UserError: a file cannot be read or has no text, or the folder exists or cannot be written.
    """
    kind = np.uint16 if len(tokenizer) <= 1 << 16 else np.uint32
    stop, counts = tokenizer.specials.stop, {}
    with atomic_folder(folder) as draft:
        with (draft / TOKENS).open("wb") as stream:
            _write_header(stream, kind, 0)
            for language, path in files.items():
                tokens = lines = 0
                for block in _blocks_of_lines(path):
                    framed = ((*line, stop) for line in encode_ids(tokenizer, block, language))
                    ids = np.fromiter(chain.from_iterable(framed), dtype=kind)
                    stream.write(ids.tobytes())
                    lines += len(block)
                    tokens += len(ids)
                if not lines:
                    raise UserError(f"{path} has no text in {language!r}; leave it out or give it some")
                counts[language] = {"tokens": tokens, "lines": lines}
            stream.seek(0)
            _write_header(stream, kind, sum(count["tokens"] for count in counts.values()))
        write_json(draft / INDEX, {"languages": counts, "stop": stop, "source": dict(source)}, indent=1)


def _blocks_of_lines(path: Path) -> Iterator[list[str]]:
    lines = (line for _, line in numbered_lines(path) if line.strip())
    while block := list(islice(lines, LINES)):
        yield block


def _write_header(stream: IO[bytes], kind: type[np.unsignedinteger], total: int) -> None:
    """Header of an ``.npy`` file of ``total`` numbers; numpy pads it, so that it has the same length for any total."""
    write_array_header_1_0(
        stream, {"descr": np.lib.format.dtype_to_descr(np.dtype(kind)), "fortran_order": False, "shape": (total,)}
    )


@dataclass(frozen=True, eq=False)
class TokenCorpus:
    """A corpus opened for reading, in blocks of ``block`` tokens within a language.

    Tokens behind the last whole block of a language are left out; a language shorter than a block is one block.

    Args:
        folder: the corpus.
        block: tokens of a block.
        source: digests that it must have been built from; None: any.

    Raises:
        UserError: when it is first read: it is torn, or was built from other files.
    """

    folder: Path
    block: int
    source: Mapping[str, str] | None = None

    @cached_property
    def tokens(self) -> NDArray[np.unsignedinteger]:
        """The memory-mapped ids, [T]."""
        path = self.folder / TOKENS
        if not path.is_file():
            raise UserError(f"{self.folder} is no token corpus: it has no {TOKENS}; remove it, and it is built anew")
        try:
            found: NDArray[np.unsignedinteger] = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError):
            raise UserError(f"{path} is torn; remove {self.folder}, and it is built anew") from None
        if len(found) != sum(self.counts.values()):
            raise UserError(f"{path} does not hold the tokens that {INDEX} counts; remove {self.folder}")
        return found

    @cached_property
    def _index(self) -> Record:
        path = self.folder / INDEX
        record = Record.of(read_json(path), str(path))
        written = record.get("source", dict)
        if self.source is not None and written != dict(self.source):
            raise UserError(
                f"{self.folder} was built from other text or with another tokenizer; remove it, and it is built anew, "
                "or name another folder"
            )
        return record

    @cached_property
    def counts(self) -> dict[str, int]:
        """Tokens of every language, in the order in which they lie."""
        languages = Record.of(self._index.get("languages", dict), f"{self.folder / INDEX}: 'languages'")
        return {
            name: Record.of(languages.values[name], f"{languages.place}, {name}").count("tokens")
            for name in languages.values
        }

    @cached_property
    def languages(self) -> tuple[str, ...]:
        """In the order in which they lie."""
        return tuple(self.counts)

    @cached_property
    def blocks(self) -> dict[str, int]:
        """Blocks of every language."""
        return {language: max(1, count // self.block) for language, count in self.counts.items()}

    @cached_property
    def _starts(self) -> dict[str, int]:
        starts, place = {}, 0
        for language, count in self.counts.items():
            starts[language] = place
            place += count
        return starts

    def length(self, language: str) -> int:
        """Tokens of a block of the language."""
        return min(self.block, self.counts[language])

    def read(self, language: str, number: int) -> NDArray[np.int64]:
        """The ids of a block, [block or fewer]."""
        first = self._starts[language] + number * self.block
        return np.asarray(self.tokens[first : first + self.length(language)], dtype=np.int64)

    def release(self) -> None:
        """Give back the pages of the file that were read: they stay in the system's cache, not in the process."""
        release_pages([self.tokens])
