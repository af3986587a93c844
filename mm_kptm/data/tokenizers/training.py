"""Training of tokenizers on text files: byte-level BPE, Unigram and WordPiece, by the tokenizers library."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, get_args

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.data.tokenizers.tokenizer_json import ROBERTA_SPECIALS, SENTINELS
from mm_kptm.errors import UserError
from mm_kptm.io.text_lines import numbered_lines

Kind = Literal["bpe", "unigram", "wordpiece", "t5"]
KINDS: tuple[Kind, ...] = get_args(Kind)


def train_tokenizer(
    files: Sequence[Path], kind: Kind, *, vocab_size: int = 8000, lowercase: bool = False, min_count: int = 2
) -> Tokenizer:
    """Train a tokenizer.

    The same files give the same byte-level pairs. Unigram and WordPiece of the library break ties as its hash tables
    happen to lie, so two trainings may differ in a few pieces: keep the file.

    Args:
        files: UTF-8 text, packed or not, a sentence or paragraph a line.
        kind: ``bpe``: byte-level pairs as in RoBERTa; ``unigram``: SentencePiece's Unigram as in XLM-R, NFKC first;
            ``wordpiece``: as in BERT, with its normalisation; ``t5``: Unigram with T5's special tokens, nothing in
            front of a text, and a hundred sentinels ``<extra_id_99>`` to ``<extra_id_0>`` at its end.
        vocab_size: pieces, special tokens included, at most.
        lowercase: whether text is lower-cased first.
        min_count: a pair of pieces is merged if it occurs so often (``bpe`` and ``wordpiece``).

    Raises:
        UserError: a file cannot be read or all are empty, the kind is unknown, or there is no room for the alphabet.
    """
    if kind not in KINDS:
        raise UserError(f"a tokenizer of kind {kind!r} was asked for; there are {', '.join(KINDS)}")
    specials = _SPECIALS.get(kind, ROBERTA_SPECIALS)
    sentinels = SENTINELS if kind == "t5" else ()
    least = len(specials) + len(sentinels) + (256 if kind == "bpe" else 1)
    if vocab_size < least + 1:
        raise UserError(f"a vocabulary of {vocab_size} pieces was asked for; {kind} needs more than {least}")
    read = 0

    def lines() -> Iterator[str]:
        nonlocal read
        for file in files:
            for _, line in numbered_lines(file):
                if line.strip():
                    read += 1
                    yield line

    tokenizer, trainer = _BUILDERS[kind](list(specials), vocab_size - len(sentinels), lowercase, min_count)
    try:
        tokenizer.train_from_iterator(lines(), trainer)
    except UserError:
        raise
    except Exception as error:  # the library raises nothing narrower
        raise UserError(f"a tokenizer of kind {kind} could not be trained: {error}") from None
    if not read:
        raise UserError(f"{', '.join(map(str, files))} hold no text to train a tokenizer on")
    tokenizer.add_special_tokens([*sentinels])
    framing = ["</s>"] if kind == "t5" else list(specials[2:4])
    begun, stop = [f"{token} " for token in framing[:-1]], framing[-1]
    between = f"{stop} {stop}" if kind in ("bpe", "unigram") else stop
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{''.join(begun)}$A {stop}",
        pair=f"{''.join(begun)}$A {between} $B {stop}",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in framing],
    )
    return tokenizer


def _bpe(specials: list[str], size: int, lowercase: bool, min_count: int) -> tuple[Tokenizer, trainers.Trainer]:
    tokenizer = Tokenizer(models.BPE(unk_token=None))
    if lowercase:
        tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    return tokenizer, trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=min_count,
        special_tokens=specials,
        initial_alphabet=alphabet,
        show_progress=False,
    )


def _unigram(specials: list[str], size: int, lowercase: bool, min_count: int) -> tuple[Tokenizer, trainers.Trainer]:
    tokenizer = Tokenizer(models.Unigram())
    steps = [normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    tokenizer.normalizer = normalizers.Sequence([*steps, *([normalizers.Lowercase()] if lowercase else [])])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer, trainers.UnigramTrainer(
        vocab_size=size, special_tokens=specials, unk_token="<unk>", show_progress=False
    )


def _wordpiece(specials: list[str], size: int, lowercase: bool, min_count: int) -> tuple[Tokenizer, trainers.Trainer]:
    tokenizer = Tokenizer(models.WordPiece(unk_token=specials[1]))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer, trainers.WordPieceTrainer(
        vocab_size=size, min_frequency=min_count, special_tokens=specials, show_progress=False
    )


_BUILDERS = {"bpe": _bpe, "unigram": _unigram, "wordpiece": _wordpiece, "t5": _unigram}
_SPECIALS = {"wordpiece": BERT_SPECIALS, "t5": ("<pad>", "</s>", "<unk>")}  # T5's numbers 0, 1 and 2
