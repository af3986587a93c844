"""A whole submission to XTREME, checked against the downloaded data (Hu et al. 2020)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from mm_kptm.crosslingual.corpora.moses import read_aligned
from mm_kptm.data.formats.squad import read_squad
from mm_kptm.data.formats.xnli import LABELS, read_xnli
from mm_kptm.data.formats.xtreme import (
    ENTITY_TAGS,
    PARAPHRASE,
    UNIVERSAL_TAGS,
    read_pan_x,
    read_parts_of_speech,
    read_paws_x,
)
from mm_kptm.datasets.text.bucc import expected_pairs, read_corpora
from mm_kptm.datasets.text.question_files import expected_answers
from mm_kptm.datasets.text.tatoeba import ENGLISH, expected_rows
from mm_kptm.datasets.text.word_files import expected_tags
from mm_kptm.datasets.text.xtreme_files import Expected, expected_labels
from mm_kptm.errors import UserError

T = TypeVar("T")

#: Test files of each task of a submission in the downloaded data, by their pattern.
LAYOUT = {
    "xnli": "xnli/test-*.tsv",
    "pawsx": "pawsx/test-*.tsv",
    "udpos": "udpos/test-*.tsv",
    "panx": "panx/test-*.tsv",
    "xquad": "xquad/xquad.*.json",
    "mlqa": "mlqa/**/test-context-*-question-*.json",
    "tydiqa": "tydiqa/**/tydiqa.goldp.*.dev.json",
    "bucc2018": f"bucc2018/*-{ENGLISH}.test.*",
    "tatoeba": f"tatoeba/*-{ENGLISH}.*",
}

Submission = Mapping[str, Mapping[str, Expected]]


def expected_submission(data: Path) -> Submission:
    """What a submission holds by task and language, for the tasks whose test files are in the downloaded data.

    Raises:
        UserError: no test file is there, or one cannot be read.
    """
    found = {task: sorted(data.glob(pattern)) for task, pattern in LAYOUT.items()}
    present = {task: files for task, files in found.items() if files}
    if not present:
        raise UserError(
            f"{data} holds no test file of XTREME, such as {LAYOUT['xnli']}; name the folder of its download"
        )
    return {task: _READERS[task](files) for task, files in present.items()}


def faults(folder: Path, expected: Submission) -> list[str]:
    """A sentence for every file of a submission that the evaluation would refuse or score wrongly."""
    found = []
    for task, languages in expected.items():
        files = {folder / task / f"test-{language}{one.ending}": one for language, one in sorted(languages.items())}
        for path, one in files.items():
            try:
                one.check(path)
            except UserError as error:
                found.append(str(error))
        strange = [path for path in _entries(folder / task) if path not in files]
        found += [
            f"{path} is of no language of the task; the data have {', '.join(sorted(languages))}" for path in strange
        ]
    strange = [path for path in _entries(folder) if path.name not in LAYOUT]
    return [*found, *(f"{path} is of no task of XTREME; they are {', '.join(LAYOUT)}" for path in strange)]


def _entries(folder: Path) -> list[Path]:
    """What a folder holds, without hidden files; nothing where there is none."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith(".")) if folder.is_dir() else []


def _labels(read: Callable[[Path], Sequence[T]], make: Callable[[list[T]], Mapping[str, Expected]]) -> _Reader:
    """A reader of files of which each is of one language."""
    return lambda files: make([one for file in files for one in read(file)])


def _questions(files: Sequence[Path]) -> Mapping[str, Expected]:
    return expected_answers([one for file in files for one in read_squad(file, language=ENGLISH)])


def _corpora(files: Sequence[Path]) -> Mapping[str, Expected]:
    prefixes = sorted({file.with_suffix("") for file in files})
    return expected_pairs([read_corpora(prefix, prefix.name.partition("-")[0]) for prefix in prefixes])


def _translations(files: Sequence[Path]) -> Mapping[str, Expected]:
    prefixes = {file.with_suffix("").name.partition("-")[0]: file.with_suffix("") for file in files}
    return expected_rows(
        {language: len(read_aligned(prefix, (language, ENGLISH))) for language, prefix in sorted(prefixes.items())}
    )


_Reader = Callable[[Sequence[Path]], Mapping[str, Expected]]

_READERS: dict[str, _Reader] = {
    "xnli": _labels(read_xnli, lambda pairs: expected_labels(pairs, LABELS)),
    "pawsx": _labels(read_paws_x, lambda pairs: expected_labels(pairs, PARAPHRASE)),
    "udpos": _labels(read_parts_of_speech, lambda sentences: expected_tags(sentences, UNIVERSAL_TAGS)),
    "panx": _labels(read_pan_x, lambda sentences: expected_tags(sentences, ENTITY_TAGS)),
    "xquad": _questions,
    "mlqa": _questions,
    "tydiqa": _questions,
    "bucc2018": _corpora,
    "tatoeba": _translations,
}
