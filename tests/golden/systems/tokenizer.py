"""WordPiece against the tokenizer of BERT's released code."""

from typing import Any

from mm_kptm.data.tokenizer import WordPiece
from tests.golden.case import Answer, Case


def wordpiece(case: Case, *, lowercase: bool) -> tuple[dict[str, Answer], dict[str, Any]]:
    tokenizer = WordPiece.open(case.folder, lowercase=lowercase)
    answers, truths = {}, {}
    for number, official in enumerate(case.json("cases.json")):
        pieces = tokenizer.encode(official["text"])
        answers[f"{number} pieces"] = Answer(list(pieces.texts))
        answers[f"{number} ids"] = Answer(list(pieces.ids))
        truths[f"{number} pieces"] = official["pieces"]
        truths[f"{number} ids"] = official["ids"]
    return answers, truths


def cased(case: Case) -> tuple[dict[str, Answer], dict[str, Any]]:
    return wordpiece(case, lowercase=False)


def uncased(case: Case) -> tuple[dict[str, Answer], dict[str, Any]]:
    return wordpiece(case, lowercase=True)


CASES = {"wordpiece-cased": cased, "wordpiece-uncased": uncased}
