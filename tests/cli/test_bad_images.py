"""Bad pictures, features and answers at the command line: one sentence and exit code 2, or they are read."""

from __future__ import annotations

import base64
import json
import pickle
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mm_kptm.cli import main
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from tests.stores import write_regions

Place = Callable[[Path], None]
NOISE = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)


def png(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(9))) + chunk(b"IEND", b"")


def turned(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    Image.fromarray(NOISE).save(path, exif=exif)


def animated(path: Path) -> None:
    frames = [Image.fromarray(NOISE), Image.fromarray(255 - NOISE)]
    frames[0].save(path, "GIF", save_all=True, append_images=frames[1:])


#: Pictures that are read, and what writes them, whatever the ending of their name.
READ: dict[str, Place] = {
    "CMYK": lambda path: Image.fromarray(NOISE).convert("CMYK").save(path, "JPEG"),
    "16-bit": lambda path: Image.fromarray(NOISE[..., 0].astype(np.uint16) * 257).save(path, "PNG"),
    "rotated": turned,
    "animated": animated,
}
#: Pictures that are refused, and the sentence.
REFUSED: dict[str, tuple[bytes, str]] = {
    "corrupt": (png(100, 100), "cannot be decoded"),
    "no picture": (b"hello", "is no picture of a known kind"),
    "empty": (b"", "is an empty file"),
    "zero-size": (png(0, 5), "second.jpg"),
    "bomb": (png(60000, 60000), "claims more pixels than the 100,000,000 that are decoded"),
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "photos").mkdir()
    Image.fromarray(NOISE).save(tmp_path / "photos" / "first.jpg")
    asked("first.jpg", "second.jpg")(tmp_path)
    words = [*BERT_SPECIALS, "what", "is", "this", "red", "blue"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def asked(*images: str, file: str = "train.jsonl", answers: tuple[str, ...] = ("red", "blue")) -> Place:
    rows = [
        {"image": image, "question": "what is this", "answers": [answers[at % 2]]} for at, image in enumerate(images)
    ]
    return lambda folder: [(folder / file).write_text("".join(json.dumps(row) + "\n" for row in rows))][0] and None


def trained(data: str, *, pixels: bool = True) -> int:
    vision = ", vision: {backbone: patches, size: 64}" if pixels else ""
    sizes = "{dim: 16, num_heads: 2, num_layers: 1, ffn_dim: 16, max_positions: 20}"
    Path("run.yaml").write_text(
        f"name: run\ntask: vqa\ndata: {{name: custom-image, train: train.jsonl, vocabulary: vocab.txt, {data}}}\n"
        f"encoder: {{recipe: uniter-base, sizes: {sizes}{vision}}}\ntrain: {{steps: 1, batch_size: 2}}\n"
    )
    return main(["train", "run.yaml"])


def sentence(capsys: pytest.CaptureFixture[str]) -> str:
    """What stands on stderr behind the progress: one line that begins with the name of the command."""
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("mm-kptm: ")
    return line


@pytest.mark.parametrize("kind", READ)
def test_unusual_pictures_are_read(place: Path, kind: str) -> None:
    READ[kind](place / "photos" / "second.jpg")
    assert trained("images: photos") == 0


@pytest.mark.parametrize("kind", REFUSED)
def test_broken_pictures_end_a_run_and_not_an_extraction(
    place: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data, message = REFUSED[kind]
    (place / "photos" / "second.jpg").write_bytes(data)
    assert trained("images: photos") == 2
    said = sentence(capsys)
    assert message in said and "second.jpg" in said
    assert main(["features", "extract", "photos", "--to", "store", "--extractor", "patches", "--size", "32"]) == 0
    out = capsys.readouterr().out
    assert "regions of 1 pictures\n1 pictures skipped:" in out and "second.jpg" in out


def test_names_that_leave_the_folder_are_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked("first.jpg", "../first.jpg")(place)
    assert trained("images: photos") == 2
    assert "../first.jpg" in sentence(capsys)


def test_missing_features_are_named(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trained("features: nowhere", pixels=False) == 2
    assert "region features were looked for in nowhere, but nowhere/" in sentence(capsys)
    write_regions(place / "store", [("first.jpg", np.ones((2, 8)), np.tile([0.0, 0.0, 1.0, 1.0], (2, 1)))])
    assert trained("features: store", pixels=False) == 2
    assert "store has no regions of image 'second.jpg'; it holds 1 images" in sentence(capsys)


def test_mismatched_boxes_are_named(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    boxes = np.tile([0.0, 0.0, 1.0, 1.0], (2, 1))
    write_regions(place / "store", [(image, np.ones((2, 8)), boxes) for image in ("first.jpg", "second.jpg")])
    np.save(place / "store" / "boxes.npy", np.zeros((3, 4), np.float32))
    assert trained("features: store", pixels=False) == 2
    assert "boxes.npy holds 3 regions, but store/index.json lists 4; the store is torn" in sentence(capsys)
    fields = [base64.b64encode(np.ones(size, "<f4").tobytes()).decode() for size in (8, 6)]
    (place / "x.tsv").write_text("\t".join(["1", "10", "10", "3", *fields]) + "\n")
    assert main(["features", "convert", "x.tsv", "out", "--from", "bottom-up-tsv"]) == 2
    assert "line 1: boxes holds 8 numbers, which do not make 3 rows" in sentence(capsys)


def test_a_pickle_that_runs_code_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Runs:
        def __reduce__(self) -> tuple[object, ...]:
            return exec, ("open('ran', 'w').close()",)

    record = np.empty((), dtype=object)
    record[()] = Runs()
    (place / "npy").mkdir()
    with (place / "npy" / "1.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
        pickle.dump(record, file)
    assert main(["features", "convert", "npy", "out", "--from", "vilbert-npy"]) == 2
    assert "is refused: it asks to run" in sentence(capsys) and not (place / "ran").exists()


def test_answers_outside_the_vocabulary_are_told(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An evaluation in which no question can be answered rightly is no result."""
    Image.fromarray(NOISE).save(place / "photos" / "second.jpg")
    asked("first.jpg", "second.jpg", file="test.jsonl", answers=("green", "green"))(place)
    assert trained("images: photos, test: test.jsonl") == 0
    assert main(["evaluate", "runs/run"]) == 2
    said = sentence(capsys)
    assert "none of 2 questions has an answer among the 2 that the model chooses from; the first is answered" in said
    assert "'green'" in said
