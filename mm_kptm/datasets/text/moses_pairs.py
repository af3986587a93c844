"""Translation of sentences in two aligned files, ``corpus.de`` and ``corpus.en`` (Moses style), or in one of both.

One file of two languages ends in ``.tmx``, ``.tsv``, ``.jsonl``, ``.po`` or ``.mo``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

from mm_kptm.crosslingual.corpora.parallel_files import bitext_files, bitext_lines
from mm_kptm.data.packing import Packed
from mm_kptm.data.tokenizers.protocol import Tokenizer
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.datasets.settings import TextSettings, fingerprints
from mm_kptm.errors import UserError, nearest
from mm_kptm.io.text_lines import is_blank, numbered_lines
from mm_kptm.models.decoding import Decoding, Request
from mm_kptm.preprocessing.inputs import InputSource
from mm_kptm.preprocessing.translation_frames import TranslationFrame
from mm_kptm.systems.system import System
from mm_kptm.tasks.example import Example
from mm_kptm.tasks.text.translation import TranslatedSource, Translation

_CODE = re.compile(r"^(?:__)?[a-z]{2,3}_[A-Z][A-Za-z]{1,3}(?:__)?$")


@dataclass(frozen=True, kw_only=True)
class MosesPairs(TextSettings):
    """Aligned files of two languages, named by what their names begin with: ``europarl`` for ``europarl.de``."""

    name: Literal["moses-pairs"]
    source: str  #: language that is translated, the ending of its files
    target: str  #: language that is written
    train: Path  #: beginning of the files to learn from, or one file of both languages
    dev: Path | None = None  #: beginning of those to choose a model by
    test: Path | None = None  #: beginning of those to measure it on
    smoothing: float = 0.1  #: label smoothing of the training loss
    bleu_tokenizer: str = "13a"  #: of sacrebleu: 13a, intl, zh, char or none
    decoding: Decoding = field(default_factory=Decoding)  #: how translations are searched for
    prefix: str = ""  #: what every translation begins with
    source_prefix: str = ""  #: what stands before every sentence to translate, such as `translate German to English:`
    never: tuple[str, ...] = ()  #: words that no translation has
    target_vocabulary: Path | None = None
    """A file of the pieces that translations are made of, one a line, as XNLG has for Chinese; null: all pieces."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.source == self.target:
            raise UserError(f"data.source and data.target are both {self.source!r}; a translation has two languages")
        if self.languages and (strange := [one for one in (self.source, self.target) if one not in self.languages]):
            raise UserError(f"data.languages has no {strange[0]!r}; it has {', '.join(self.languages)}")

    @property
    def splits(self) -> dict[str, Path]:
        """The beginning of the files of every split there is."""
        given = {"train": self.train, "dev": self.dev, "test": self.test}
        return {split: path for split, path in given.items() if path is not None}

    @property
    def spoken(self) -> tuple[str, ...]:
        """The languages as set, or both in alphabetical order."""
        return self.languages or tuple(sorted((self.source, self.target)))

    @property
    def fingerprints(self) -> dict[str, str]:
        """Fingerprint of the data and the settings that affect them."""
        files = {
            f"{split}.{language}": path
            for split, prefix in self.splits.items()
            for language, path in bitext_files(prefix, (self.source, self.target)).items()
        }
        listed = {} if self.target_vocabulary is None else {"target_vocabulary": self.target_vocabulary}
        return fingerprints({**files, **listed, **self.tokenizer_files})


def translation(data: MosesPairs, request: DataRequest) -> PreparedData:
    """Sentences of one language, written in another.

    Raises:
        UserError: the tokenizer has no token for a language where the encoder reads one, or has none of the pieces or
            words that are said of translations.
    """
    data = replace(data, languages=data.language_ids(request.recipe, data.spoken))
    tokenizer = data.tokenizer()
    form = _Form(data, tokenizer, request.recipe.text.language_codes)
    languages = {"num_languages": len(data.spoken)} if "languages" in request.recipe.reads else {}
    number = data.spoken.index(data.target) if languages else None

    def source(split: str) -> TranslatedSource:
        lines = bitext_lines(data.splits[split], (data.source, data.target))
        pairs = [line for line in lines if not any(map(is_blank, line))]
        about = [_example(number, text, data) for number, (_, text) in enumerate(pairs)]
        return form.source([one for one, _ in pairs], [other for _, other in pairs], about)

    def read_file(path: Path) -> TranslatedSource:
        texts = [line.strip() for _, line in numbered_lines(path)]
        if not texts:
            raise UserError(f"{path} is empty; a sentence a line was expected")
        if blank := next((number for number, text in enumerate(texts, 1) if is_blank(text)), None):
            raise UserError(f"{path}, line {blank} is empty; a sentence a line was expected")
        return form.source(texts, None, [_example(number, "", data) for number in range(len(texts))])

    allowed = None if data.target_vocabulary is None else _listed(data.target_vocabulary, tokenizer)
    refused = [tokenizer.encode(word, data.target).ids for word in data.never]
    if not all(refused):
        raise UserError(f"data.never has {data.never[refused.index(())]!r}, of which the tokenizer makes no piece")

    def model(system: System) -> Translation:
        asked = Request(form.start, tokenizer.specials.stop, number, form.first, bad_words=refused)
        return Translation(
            system,
            tokenizer,
            asked,
            decoding=data.decoding,
            smoothing=data.smoothing,
            tokenize=data.bleu_tokenizer,
            prefix=tokenizer.encode(data.prefix, data.target).ids if data.prefix else (),
            allowed=allowed,
        )

    return PreparedData(
        sources={split: partial(source, split) for split in data.splits},
        model=model,
        sizes={"vocab_size": len(tokenizer), **languages},
        heads=Translation.heads(request.recipe),
        fingerprints=data.fingerprints,
        read_file=read_file,
    )


@dataclass(frozen=True)
class _Form:
    """Special tokens of sources and targets, as the family of an encoder-decoder has them."""

    data: MosesPairs
    tokenizer: Tokenizer
    codes: str  #: where the tokens of languages stand: none, last or first

    @property
    def frame(self) -> TranslationFrame:
        """What stands around the two sides."""
        return TranslationFrame(self.tokenizer.specials, self.codes)

    @property
    def start(self) -> int:
        """The first token of what is written."""
        return self.frame.begun(self._code(self.data.target))[0]

    @property
    def first(self) -> int | None:
        """The second one, where it is forced."""
        return next(iter(self.frame.begun(self._code(self.data.target))[1:]), None)

    def source(
        self, texts: Sequence[str], translations: Sequence[str] | None, about: list[Example]
    ) -> TranslatedSource:
        """Sources and, where they are known, targets."""
        sources = [self._source(text) for text in texts]
        targets = None if translations is None else [self._target(text) for text in translations]
        return TranslatedSource(
            self._packed(sources, self.data.source),
            None if targets is None else self._packed(targets, self.data.target),
            tuple(about),
        )

    def _source(self, text: str) -> list[int]:
        code = self._code(self.data.source)
        room = self.data.max_length - len(self.frame.source((), code))
        asked = f"{self.data.source_prefix.strip()} {text}" if self.data.source_prefix else text
        return self.frame.source(self.tokenizer.encode(asked, self.data.source).ids[:room], code)

    def _target(self, text: str) -> list[int]:
        code = self._code(self.data.target)
        room = self.data.max_length - len(self.frame.target((), code))
        return self.frame.target(self.tokenizer.encode(text, self.data.target).ids[:room], code)

    def _packed(self, ids: Sequence[list[int]], language: str) -> InputSource:
        columns = {"ids": ids, "positions": [range(len(one)) for one in ids]}
        number = self.data.spoken.index(language)
        return InputSource(Packed.of(**columns, languages=[[number] * len(one) for one in ids]))

    def _code(self, language: str) -> int:
        """The token of a language: ``de_DE`` of ``de``, or the language itself where it is a token; 0 if none is read.

        Raises:
            UserError: the tokenizer has none.
        """
        if self.codes == "none":
            return 0
        known = self._known
        found = [piece for piece in known if piece.strip("_").split("_")[0] == language or piece == language]
        if not found:
            near = nearest(language, known, otherwise=f"it has {', '.join([*known][:6]) or 'none'}")
            raise UserError(f"the tokenizer has no token for the language {language!r}, such as {language}_XX{near}")
        return known[found[0]]

    @cached_property
    def _known(self) -> dict[str, int]:
        """The tokens of languages, and their ids."""
        return {piece: number for number, piece in enumerate(self.tokenizer.vocabulary) if _CODE.match(piece)}


def _listed(path: Path, tokenizer: Tokenizer) -> list[int]:
    """The ids of the pieces in a file, and of the stop token and the unknown one."""
    numbers = {piece: number for number, piece in enumerate(tokenizer.vocabulary)}
    pieces = [line.strip() for _, line in numbered_lines(path)]
    found = [numbers[piece] for piece in pieces if piece in numbers]
    if not found:
        raise UserError(f"{path} holds no piece of the vocabulary; list some, one a line")
    return [*found, tokenizer.specials.stop, tokenizer.specials.unknown]


def _example(number: int, text: str, data: MosesPairs) -> Example:
    return Example(f"line-{number + 1}", f"{data.source}-{data.target}", data.target, f"line-{number + 1}", text)


MOSES_PAIRS = TaskDataset(Translation, MosesPairs, translation)
