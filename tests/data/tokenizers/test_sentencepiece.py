"""Models of SentencePiece are read without its library, and cut as it does."""

import json
import struct
from pathlib import Path

import pytest

import mm_kptm
from mm_kptm.data.tokenizers.opening import open_tokenizer, tokenizer_files
from mm_kptm.data.tokenizers.sentencepiece import ErnieM, SentencePiece
from mm_kptm.data.tokenizers.sentencepiece_model import BYTE, CONTROL, NORMAL, UNKNOWN, SentencePieceModel
from mm_kptm.errors import UserError
from mm_kptm.objectives.span_corruption import sentinels_of
from mm_kptm.systems.saved import tokenizer_of

Piece = tuple[str, float, int]
CORE: list[Piece] = [("<unk>", 0.0, UNKNOWN), ("<s>", 0.0, CONTROL), ("</s>", 0.0, CONTROL)]
WORDS: list[Piece] = [
    ("▁", -3.0, NORMAL),
    ("▁ab", -1.0, NORMAL),
    ("a", -4.0, NORMAL),
    ("b", -4.1, NORMAL),
    ("ab", -2.0, NORMAL),
]


def varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def model(pieces: list[Piece], *, algorithm: int = 1, prefix: int = 1) -> bytes:
    out = b""
    for text, score, kind in pieces:
        out += field(1, field(1, text.encode()) + varint(2 << 3 | 5) + struct.pack("<f", score) + field(3, kind))
    return out + field(2, field(3, algorithm)) + field(3, field(3, prefix) + field(4, 1))


def test_fairseq_puts_its_specials_first_and_the_mask_last(tmp_path: Path) -> None:
    path = tmp_path / "sentencepiece.bpe.model"
    path.write_bytes(model([*CORE, *WORDS]))
    tokenizer = open_tokenizer(tmp_path)
    assert tokenizer.vocabulary == ("<s>", "<pad>", "</s>", "<unk>", "▁", "▁ab", "a", "b", "ab", "<mask>")
    found = tokenizer.encode("ab  aba")
    assert found.texts == ("▁ab", "▁ab", "a") and found.ids == (5, 5, 6)
    assert found.spans == ((0, 2), (4, 6), (6, 7))
    assert tokenizer.specials.mask == 9 and tokenizer.specials.between == 2
    assert tokenizer.encode("z ab").ids == (4, 3, 5), "an unknown sign"
    assert tokenizer.encode("<s>").ids.count(0) == 0, "special tokens inside a text are text"
    (tmp_path / "dict.txt").write_text("ab 9\n▁ab 8\n")
    assert open_tokenizer(path).vocabulary == ("<s>", "<pad>", "</s>", "<unk>", "ab", "▁ab", "<mask>")


def test_pairs_of_a_bpe_model_are_merged_in_the_order_of_its_pieces(tmp_path: Path) -> None:
    pieces = [
        *CORE,
        ("ab", 0.0, NORMAL),
        ("▁a", -1.0, NORMAL),
        ("▁", -2.0, NORMAL),
        ("a", -3.0, NORMAL),
        ("b", -4.0, NORMAL),
    ]
    path = tmp_path / "sentencepiece.bpe.model"
    path.write_bytes(model(pieces, algorithm=2))
    found = open_tokenizer(path).encode("ab a")
    assert found.texts == ("▁", "ab", "▁a")


def test_a_model_with_special_tokens_keeps_its_ids(tmp_path: Path) -> None:
    names = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]
    kinds = [CONTROL, UNKNOWN, CONTROL, CONTROL, CONTROL]
    specials = [(name, 0.0, kind) for name, kind in zip(names, kinds, strict=True)]
    path = tmp_path / "spiece.model"
    path.write_bytes(model([*specials, *WORDS], prefix=0))
    tokenizer = open_tokenizer(tmp_path)
    assert tokenizer_files(tmp_path) == (path,)
    assert (tokenizer.specials.start, tokenizer.specials.mask, tokenizer.specials.between) == (2, 4, 1)
    assert tokenizer.encode("ab").texts == ("ab",), "no space is put before"


def test_bytes_stand_for_signs_that_are_no_pieces(tmp_path: Path) -> None:
    by_byte = [(f"<0x{number:02X}>", -20.0, BYTE) for number in range(256)]
    path = tmp_path / "sentencepiece.bpe.model"
    path.write_bytes(model([*CORE, *by_byte, *WORDS]))
    assert open_tokenizer(path).encode("é").texts == ("▁", "<0xC3>", "<0xA9>")


def test_ernie_m_cuts_signs_digits_and_ideographs_apart(tmp_path: Path) -> None:
    words = ["▁a1b", "▁北京,", "▁", "x"]
    (tmp_path / "sentencepiece.bpe.model").write_bytes(model([*CORE, *((word, -1.0, NORMAL) for word in words)]))
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "▁a", "1", "b", "北", "京", ",", "x"]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces) + "\n")
    tokenizer = open_tokenizer(tmp_path)
    assert isinstance(tokenizer, ErnieM)
    found = tokenizer.encode("a1b 北京, x")
    assert found.texts == ("▁a", "1", "b", "北", "京", ",", "▁", "x")
    assert found.ids == (5, 6, 7, 8, 9, 10, 1, 11)
    assert found.spans[:6] == ((0, 1), (1, 2), (2, 3), (4, 5), (5, 6), (6, 7))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no model of SentencePiece: it has no piece"),
        (model([*CORE, *WORDS])[:-8], r"is no model of SentencePiece, or it was cut short"),
        (b"\x0f\xff", r"is no model of SentencePiece, or it was cut short"),
        (model(CORE, algorithm=3), "is a model of words or characters, but only Unigram and BPE models are read"),
    ],
)
def test_what_is_no_model_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "spiece.model"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        SentencePieceModel.read(path)


def test_what_a_vocabulary_lacks_is_named(tmp_path: Path) -> None:
    path = tmp_path / "spiece.model"
    path.write_bytes(model([*CORE, *WORDS]))
    with pytest.raises(UserError, match=r"spiece.model has no special tokens"):
        SentencePiece.plain(path)
    (tmp_path / "vocab.txt").write_text("[PAD]\n")
    with pytest.raises(UserError, match=r"vocab.txt has no \[UNK\], which ERNIE-M's vocabulary has"):
        ErnieM.open(path, tmp_path / "vocab.txt")
    (tmp_path / "dict.txt").write_text("ab\n")
    with pytest.raises(UserError, match=r"dict.txt, line 1 is 'ab'; a piece and its count belong there"):
        SentencePiece.fairseq(path, tmp_path / "dict.txt")


T5_CORE: list[Piece] = [("<pad>", 0.0, CONTROL), ("</s>", 0.0, CONTROL), ("<unk>", 0.0, UNKNOWN)]


def test_a_model_of_t5_is_followed_by_its_sentinels(tmp_path: Path) -> None:
    path = tmp_path / "spiece.model"
    path.write_bytes(model([*T5_CORE, *WORDS]))
    tokenizer = open_tokenizer(path, siglip=False)
    assert len(tokenizer) == 3 + len(WORDS) + 100
    assert (tokenizer.vocabulary[-1], tokenizer.vocabulary[-100]) == ("<extra_id_0>", "<extra_id_99>")
    assert not tokenizer.specials.opens and tokenizer.specials.stop == 1
    assert max(tokenizer.encode("ab <extra_id_0>").ids) < 3 + len(WORDS), "in a text they are text"
    listed: list[Piece] = [*T5_CORE, *WORDS, ("▁<extra_id_1>", -9.0, NORMAL), ("▁<extra_id_0>", -9.0, NORMAL)]
    path.write_bytes(model(listed))
    tokenizer = open_tokenizer(path)
    assert len(tokenizer) == len(listed), "mT5's are in the model"
    assert sentinels_of(tokenizer.vocabulary, len(tokenizer), tokenizer.specials) == [len(listed) - 1, len(listed) - 2]


@pytest.mark.parametrize(
    ("file", "said", "sentinels"),
    [
        ("config.json", {"model_type": "t5"}, 100),
        ("config.json", {"recipe": "t5-small"}, 100),
        ("config.json", {"model_type": "siglip"}, None),
        ("config.json", {"recipe": "siglip-b-16"}, None),
        ("tokenizer_config.json", {"tokenizer_class": "T5TokenizerFast"}, 100),
        ("tokenizer_config.json", {"tokenizer_class": "T5Tokenizer", "extra_ids": 7}, 7),
        ("tokenizer_config.json", {"extra_ids": 0}, 0),
        ("tokenizer_config.json", {"tokenizer_class": "SiglipTokenizer"}, None),
        ("open_clip_config.json", {"model_cfg": {"text_cfg": {"hf_tokenizer_name": "timm/ViT-B-16-SigLIP"}}}, None),
    ],
)
def test_whose_a_model_is_says_a_configuration_beside_it(
    file: str, said: dict[str, object], sentinels: int | None, tmp_path: Path
) -> None:
    """None: it is of SigLIP, which has no sentinel, reads small letters without punctuation and pads with the end."""
    (tmp_path / "spiece.model").write_bytes(model([*T5_CORE, *WORDS]))
    (tmp_path / file).write_text(json.dumps(said))
    tokenizer = open_tokenizer(tmp_path)
    assert len(tokenizer) == 3 + len(WORDS) + (sentinels or 0)
    assert tokenizer.encode("AB!").texts == (("▁ab",) if sentinels is None else ("▁", "AB!"))
    assert tokenizer.specials.pad == (1 if sentinels is None else 0)


def test_a_model_that_may_be_of_two_systems_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "spiece.model"
    path.write_bytes(model([*T5_CORE, *WORDS]))
    expected = r"spiece.model may be of T5, whose vocabulary goes on with 100 sentinels, or of SigLIP, whose vocabulary"
    for folder_or_file in (tmp_path, path):
        with pytest.raises(UserError, match=expected):
            open_tokenizer(folder_or_file)
    (tmp_path / "tokenizer_config.json").write_text("{}")
    with pytest.raises(UserError, match=r"lay the tokenizer_config.json or the config.json of its release beside it$"):
        open_tokenizer(path)


def test_a_saved_t5_has_a_tokenizer_that_says_whose_it_is(tmp_path: Path) -> None:
    (tmp_path / "spiece.model").write_bytes(model([*T5_CORE, *WORDS]))
    sizes = {"dim": 8, "num_heads": 2, "head_dim": 4, "num_layers": 1, "ffn_dim": 8, "vocab_size": 3 + len(WORDS) + 100}
    system = mm_kptm.build("t5-small", **sizes)
    system.tokenizer = tokenizer_of(system, tmp_path / "spiece.model")
    mm_kptm.save(system, tmp_path / "saved")
    (tmp_path / "saved" / "config.json").unlink()
    assert open_tokenizer(tmp_path / "saved").vocabulary == system.tokenizer.pieces.vocabulary
