"""A little byte-level tokenizer, and the files in which RoBERTa's and its kin's are published."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer as Engine
from tokenizers import decoders, models, pre_tokenizers, trainers

from mm_kptm.data.tokenizers.tokenizer_json import ROBERTA_SPECIALS

#: As RoBERTa numbers them.
SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")
MADE_UP = ("madeupword0000", "madeupword0001", "madeupword0002")  #: no text has them


def learnt(texts: Iterable[str], *, vocab_size: int = 400) -> Engine:
    """Byte-level pairs of some texts; ``<s>`` is 0, ``<pad>`` 1, ``</s>`` 2, ``<unk>`` 3, and ``<mask>`` the last."""
    engine = Engine(models.BPE())
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=list(SPECIALS), initial_alphabet=alphabet)
    engine.train_from_iterator(texts, trainer)
    engine.add_special_tokens([*MADE_UP, "<mask>"])
    assert all(engine.token_to_id(special) is not None for special in ROBERTA_SPECIALS)
    return engine


def saved(engine: Engine, folder: Path, form: str) -> Path:
    """The engine in a folder, as ``library``, ``hugging-face`` or ``fairseq`` have it."""
    folder.mkdir(parents=True, exist_ok=True)
    if form == "library":
        engine.save(str(folder / "tokenizer.json"))
        return folder
    model = json.loads(engine.to_str())["model"]
    merges = "".join(f"{' '.join(pair)}\n" for pair in model["merges"])
    numbers = engine.get_vocab()
    if form == "hugging-face":
        (folder / "vocab.json").write_text(json.dumps(numbers), encoding="utf-8")
        (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}", encoding="utf-8")
        return folder
    pieces = sorted((piece for piece in numbers if piece not in ROBERTA_SPECIALS), key=numbers.__getitem__)
    # numbers of their own, which made-up words have none of
    gpt2 = {piece: number for number, piece in enumerate(sorted(set(pieces) - set(MADE_UP)))}
    (folder / "encoder.json").write_text(json.dumps(gpt2), encoding="utf-8")
    (folder / "vocab.bpe").write_text(f"#version: 0.2\n{merges}", encoding="utf-8")
    (folder / "dict.txt").write_text("".join(f"{gpt2.get(piece, piece)} 9\n" for piece in pieces), encoding="utf-8")
    return folder
