"""Tokenizers against those of the released code: BERT's WordPiece, and XLM's byte-pair encoding."""

from typing import Any

from mm_kptm.data.tokenizers.clip_bpe import ClipBpe
from mm_kptm.data.tokenizers.fastbpe import FastBpe
from mm_kptm.data.tokenizers.wordpiece import WordPiece
from mm_kptm.systems.text_tokenizer import TextTokenizer
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


def xlm_bpe(case: Case) -> tuple[dict[str, Answer], dict[str, Any]]:
    tokenizer = FastBpe.open(case.folder / "codes", case.folder / "vocab", lowercase=True)
    answers, truths = {}, {}
    for number, official in enumerate(case.json("cases.json")):
        pieces = tokenizer.encode(official["tokenized"])
        marker = tokenizer.specials.stop
        ours = {
            "normalized": tokenizer.normalized(official["tokenized"]),
            "pieces": list(pieces.texts),
            "ids": list(pieces.ids),
            "ids_with_markers": [marker, *pieces.ids, marker],
        }
        answers |= {f"{number} {name}": Answer(value) for name, value in ours.items()}
        truths |= {f"{number} {name}": official[name] for name in ours}
    return answers, truths


def clip_bpe(case: Case) -> tuple[dict[str, Answer], dict[str, Any]]:
    official, tokenizer = case.json("cases.json"), ClipBpe.open(case.folder / "merges.txt")
    answers = {
        "vocab_size": Answer(len(tokenizer)),
        "sot": Answer(tokenizer.specials.start),
        "eot": Answer(tokenizer.specials.stop),
    }
    truths = {name: official[name] for name in answers}
    limits = TextTokenizer(case.folder, official["context_length"], len(tokenizer))
    for number, one in enumerate(official["cases"]):
        ids = limits([one["text"]]).text.ids.tolist()
        answers[f"{number} ids"] = Answer(list(tokenizer.encode(one["text"]).ids))
        answers[f"{number} padded"] = Answer(ids + [0] * (official["context_length"] - len(ids)))
        truths |= {f"{number} ids": one["ids"], f"{number} padded": one["padded"]}
    return answers, truths


CASES = {"clip-bpe": clip_bpe, "wordpiece-cased": cased, "wordpiece-uncased": uncased, "xlm-bpe": xlm_bpe}
