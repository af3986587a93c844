"""CLIP's tokenizer agrees with open_clip's, from whatever files it comes."""

from __future__ import annotations

import json
from pathlib import Path

import open_clip
import pytest

import mm_kptm
from mm_kptm.data.tokenizers.clip_bpe import ClipBpe, published_merges
from mm_kptm.data.tokenizers.opening import open_tokenizer
from mm_kptm.errors import UserError
from tests.small_towers import CLIP

TEXTS = (
    "a photo of a cat",
    "The children's  play: 2024 red balls!!",
    "don't stop &amp;amp; it&#39;s",
    "Кошка 猫 café ✨",
    "",
    "naïve — “quoted” … text\nwith\ttabs",
)


@pytest.fixture(scope="module")
def published() -> ClipBpe:
    return ClipBpe.open(published_merges())


def test_ids_are_those_of_open_clip(published: ClipBpe) -> None:
    theirs = open_clip.SimpleTokenizer()
    assert len(published) == theirs.vocab_size == 49408
    for text in TEXTS:
        assert list(published.encode(text).ids) == theirs.encode(text), text


def test_spans_are_of_the_cleaned_text(published: ClipBpe) -> None:
    pieces = published.encode("a Photo of CATS")
    cleaned = published.cleaned("a Photo of CATS")
    assert [cleaned[start:end] for start, end in pieces.spans] == ["a", "photo", "of", "cats"]


def test_it_is_known_in_every_form(published: ClipBpe, tmp_path: Path) -> None:
    merges = ["#version: toy", "t h", "th e</w>"]
    ids = {"t": 0, "h": 1, "e</w>": 2, "<|startoftext|>": 3}
    for name, files in {
        "alone": {"merges.txt": "\n".join(merges)},
        "hub": {"merges.txt": "\n".join(merges), "vocab.json": json.dumps(ids)},
        "one": {"tokenizer.json": json.dumps({"model": {"vocab": ids, "merges": merges[1:]}})},
        "pairs": {"tokenizer.json": json.dumps({"model": {"vocab": ids, "merges": [["t", "h"], ["th", "e</w>"]]}})},
    }.items():
        (tmp_path / name).mkdir()
        for file, text in files.items():
            (tmp_path / name / file).write_text(text, encoding="utf-8")
        assert open_tokenizer(tmp_path / name).encode("The").texts == ("the</w>",), name


def test_a_system_with_its_words_brings_it_along(tmp_path: Path) -> None:
    system = mm_kptm.build("clip", seed=0, **{**CLIP, "text": {**CLIP["text"], "vocab_size": 49408}})
    vectors = system.encode_text(["a cat", "two dogs on a beach"])
    assert vectors.shape == (2, system.dim)
    mm_kptm.save(system, tmp_path)
    again = mm_kptm.load(str(tmp_path))
    assert (again.encode_text(["a cat"]) - vectors[:1]).abs().max() < 1e-6
    assert not mm_kptm.build("clip", **CLIP).has_tokenizer


@pytest.mark.parametrize("lines", ["#\nt h e", "#\nth e</w>"])
def test_broken_merges_are_named(lines: str, tmp_path: Path) -> None:
    (tmp_path / "merges.txt").write_text(lines)
    with pytest.raises(UserError, match=r"merge 1 is 't h e', but it must|merge 0 joins 'th' and 'e</w>', which are"):
        ClipBpe.open(tmp_path / "merges.txt")
    (tmp_path / "broken.gz").write_bytes(b"no")
    with pytest.raises(UserError, match=r"broken\.gz is no file of merges"):
        ClipBpe.open(tmp_path / "broken.gz")
