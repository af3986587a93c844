"""Tokenizers against those of the released code: BERT's WordPiece, and XLM's byte-pair encoding."""

from typing import Any

from mm_kptm.data.tokenizers.clip_bpe import ClipBpe
from mm_kptm.data.tokenizers.fastbpe import FastBpe
from mm_kptm.data.tokenizers.opening import open_tokenizer
from mm_kptm.data.tokenizers.protocol import framed
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


def xlm_r(case: Case) -> tuple[dict[str, Answer], dict[str, Any]]:
    tokenizer = open_tokenizer(case.folder)
    answers, truths = {}, {}
    for number, official in enumerate(case.json("cases.json")):
        pieces = tokenizer.encode(official["text"])
        framed_ids, _ = framed(tokenizer.specials, pieces.ids)
        answers |= {f"{number} pieces": Answer(list(pieces.texts)), f"{number} ids": Answer(framed_ids)}
        truths |= {f"{number} pieces": official["pieces"], f"{number} ids": official["fairseq_ids"]}
    return answers, truths


def ernie_m(case: Case) -> tuple[dict[str, Answer], dict[str, Any]]:
    tokenizer = open_tokenizer(case.folder)
    answers, truths = {}, {}
    official = case.json("cases.json")
    for number, one in enumerate(official["texts"]):
        if "ids" not in one:  # the published code stops at a last word mark
            continue
        pieces = tokenizer.encode(one["text"])
        answers |= {
            f"{number} tokens": Answer(list(pieces.texts)),
            f"{number} ids": Answer(framed(tokenizer.specials, pieces.ids)[0]),
        }
        truths |= {f"{number} tokens": one["tokens"], f"{number} ids": one["ids"]}
    for number, one in enumerate(official["pairs"]):
        parts = [tokenizer.encode(one[key]).ids for key in ("text", "pair")]
        answers[f"pair {number}"] = Answer(framed(tokenizer.specials, *parts)[0])
        truths[f"pair {number}"] = one["ids"]
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


CASES = {
    "clip-bpe": clip_bpe,
    "ernie-m": ernie_m,
    "wordpiece-cased": cased,
    "wordpiece-uncased": uncased,
    "xlm-bpe": xlm_bpe,
    "xlm-r-sentencepiece": xlm_r,
}
