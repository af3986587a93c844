"""The verb tokenizer train: a vocabulary learnt from text files."""

from __future__ import annotations

import argparse
from pathlib import Path

from mm_kptm.cli.output import add_json, print_json, print_rows


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the parser."""
    tokenizer = verbs.add_parser("tokenizer", help="train a tokenizer on text files")
    actions = tokenizer.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)
    train = actions.add_parser("train", help="learn a vocabulary from text files")
    train.description = (
        "Train byte-level BPE (RoBERTa), Unigram (XLM-R; with T5's special tokens and sentinels) or WordPiece (BERT) "
        "and write tokenizer.json, which `data.vocabulary` and Hugging Face's libraries read."
    )
    train.add_argument(
        "--kind", choices=("bpe", "unigram", "wordpiece", "t5"), default="unigram", help="(default: unigram)"
    )
    train.add_argument("--files", type=Path, nargs="+", required=True, metavar="FILE", help="text, a sentence a line")
    train.add_argument("--vocab-size", type=int, default=8000, metavar="N", help="pieces at most (default: 8000)")
    train.add_argument("--min-count", type=int, default=2, metavar="N", help="of a merged pair (default: 2)")
    train.add_argument("--lowercase", action="store_true", help="lower-case all text")
    train.add_argument("--out", type=Path, default=Path("tokenizer"), help="its folder (default: tokenizer)")
    add_json(train)
    train.set_defaults(run=_train)


def _train(options: argparse.Namespace) -> int:
    from mm_kptm.data.tokenizers.training import train_tokenizer
    from mm_kptm.io.atomic import write_text

    trained = train_tokenizer(
        options.files,
        options.kind,
        vocab_size=options.vocab_size,
        lowercase=options.lowercase,
        min_count=options.min_count,
    )
    path = options.out / "tokenizer.json"
    write_text(path, trained.to_str(pretty=True))
    row = {"tokenizer": str(path), "kind": options.kind, "pieces": trained.get_vocab_size()}
    print_json(row) if options.json else print_rows([row])
    return 0
