"""Extractive question answering on files in SQuAD's form, for any dataset that has them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mm_kptm.data.formats.squad import PassageQuestion, read_squad
from mm_kptm.datasets.protocol import DataRequest, PreparedData
from mm_kptm.datasets.settings import SplitFiles, by_split
from mm_kptm.datasets.skips import NO_SKIPS, Skips
from mm_kptm.datasets.text.passage_windows import passage_questions
from mm_kptm.datasets.text.xtreme_files import AnswerTexts, check_files, write_answer_texts
from mm_kptm.errors import UserError
from mm_kptm.preprocessing.text import TextEncoding
from mm_kptm.tasks.example import Row
from mm_kptm.tasks.text.question_answering import QuestionAnswering, QuestionSource

NO_ANSWER = "has no answer that stands in its passage where the file says"


@dataclass(frozen=True, kw_only=True)
class QuestionFiles(SplitFiles):
    """One file of questions about passages per split, or those of several languages: ``xquad/xquad.*.json``."""

    max_length: int = 384  #: pieces of a window, those of the question and special ones included
    doc_stride: int = 128  #: pieces between the beginnings of two windows of a passage
    max_question_length: int = 64  #: pieces of a question that are read
    max_answer_length: int = 30  #: pieces of an answer at most
    n_best: int = 20  #: starts and ends of a window that are combined
    language: str = "en"  #: of files whose name and ids tell none, such as SQuAD's

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("doc_stride", "max_question_length", "max_answer_length", "n_best"):
            if (value := getattr(self, name)) < 1:
                raise UserError(f"data.{name} is {value} but must be at least 1")


def question_files(data: QuestionFiles, request: DataRequest, *, folder: str, normalisation: str) -> PreparedData:
    """Extractive question answering on files.

    Args:
        data: the settings.
        request: the encoder.
        folder: of the task in a submission to XTREME.
        normalisation: how answers are compared, see :class:`~mm_kptm.tasks.text.question_answering.QuestionAnswering`.
    """
    encoding = TextEncoding(data.tokenizer(), data.max_length, data.language_ids(request.recipe))
    examples = by_split(data.files, partial(read_squad, language=data.language))

    def made(questions: Sequence[PassageQuestion], *, answered: bool = False) -> QuestionSource:
        return passage_questions(
            questions,
            encoding,
            stride=data.doc_stride,
            max_question_length=data.max_question_length,
            answered=answered,
        )

    def source(split: str) -> QuestionSource:
        return made(examples(split), answered=split == "train")

    def skipped(split: str) -> Skips:
        if split != "train":
            return NO_SKIPS
        used = {one.id for one in source(split).about}
        return Skips.of((one.id, NO_ANSWER) for one in examples(split) if one.id not in used)

    def submit(split: str, rows: Sequence[Row], to: Path) -> list[Path]:
        of_one_language = [row for row in rows if row["type"] == row["language"]]
        written = write_answer_texts(of_one_language, to, folder, split)
        check_files(to, folder, split, expected_answers(examples(split)))
        return written

    return PreparedData(
        sources={split: partial(source, split) for split in data.files},
        model=partial(
            QuestionAnswering,
            normalisation=normalisation,
            max_answer_length=data.max_answer_length,
            n_best=data.n_best,
        ),
        sizes={"vocab_size": len(encoding.tokenizer), "num_languages": max(len(encoding.languages), 1)},
        heads=QuestionAnswering.heads(request.recipe),
        fingerprints=data.fingerprints,
        encoding=encoding,
        skipped=skipped,
        read_file=lambda path: made(read_squad(path, language=data.language)),
        submit=submit,
    )


def expected_answers(questions: Sequence[PassageQuestion]) -> dict[str, AnswerTexts]:
    """What a submission must hold for each language: the questions asked in the language of their passage."""
    ids: defaultdict[str, set[str]] = defaultdict(set)
    for one in questions:
        if one.language == one.question_language:
            ids[one.language].add(one.id)
    return {language: AnswerTexts(frozenset(some)) for language, some in ids.items()}
