"""Folders of pictures as the images of examples: names, sizes, cells and what is broken."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mm_kptm.batch import Images
from mm_kptm.data.images.resizing import ImageResize
from mm_kptm.errors import UserError
from mm_kptm.nn.backbones import build_backbone
from mm_kptm.preprocessing.images import PictureFolder
from mm_kptm.vision.modules.pixels import PixelFormat


def folder(at: Path) -> Path:
    draw = np.random.default_rng(0)
    for name, size in {"COCO_val2014_000000000123.jpg": (40, 80), "b.png": (80, 40), "in/c.png": (64, 64)}.items():
        (at / name).parent.mkdir(exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (*size, 3), dtype=np.uint8)).save(at / name)
    return at


def opened(at: Path, *, longest: int | None = None, size: int = 64) -> PictureFolder:
    return PictureFolder(at, PixelFormat.of(build_backbone("patches", size=size, patch=32), longest=longest))


def test_a_picture_goes_by_its_path_its_file_and_its_number(tmp_path: Path) -> None:
    pictures = opened(folder(tmp_path))
    assert pictures.places_of(["123", "b", "b.png", "in/c.png", "c"]).tolist() == [0, 1, 1, 2, 2]
    Image.new("RGB", (8, 8)).save(tmp_path / "in" / "b.png")
    with pytest.raises(UserError, match="has no picture 'b'; it holds 4 pictures"):
        opened(tmp_path).places_of(["b"])  # two have that name
    with pytest.raises(UserError, match=r"picture name '\.\./b.png' leads out of"):
        pictures.places_of(["../b.png"])
    with pytest.raises(UserError, match="which is no folder"):
        opened(tmp_path / "nowhere")


def test_squares_have_equal_grids_and_shapes_that_are_kept_unequal_ones(tmp_path: Path) -> None:
    squares, kept = opened(folder(tmp_path)), opened(tmp_path, longest=128)
    assert squares.lengths.tolist() == [4, 4, 4] and kept.lengths.tolist() == [8, 8, 4]
    assert kept.images(np.array([0, 2])).sizes == ((64, 128), (64, 64))
    regions = kept.regions(np.array([1, 0]))
    assert regions.features.shape == (16, 0) and regions.boxes[1].tolist() == [0.5, 0, 1, 0.25]
    assert torch.equal(regions.boxes[8:], torch.from_numpy(kept.boxes[kept.offsets[0] : kept.offsets[1]]))


def test_a_broken_picture_matters_only_where_it_is_asked_for(tmp_path: Path) -> None:
    """Sizes are read of all pictures where these keep their shape, but only an example's own may end a run."""
    (folder(tmp_path) / "a2.png").write_bytes(b"no picture")
    pictures = opened(tmp_path, longest=128)
    assert pictures.places_of(["b.png", "c"]).tolist() == [2, 3]
    assert pictures.lengths.tolist() == [8, 0, 8, 4] and len(pictures.boxes) == pictures.offsets[-1] == 20
    with pytest.raises(UserError, match=r"a2\.png is no picture of a known kind"):
        pictures.places_of(["b.png", "a2.png"])


def test_pixels_are_resized_and_normalised_once_and_survive_a_worker(tmp_path: Path) -> None:
    pictures = opened(folder(tmp_path))
    first = pictures.images(np.array([1])).pixels
    with Image.open(tmp_path / "b.png") as image:
        resized = np.asarray(image.resize((64, 64), Image.Resampling.BICUBIC), np.float32)
    torch.testing.assert_close(first[0], torch.from_numpy((resized / 255 - 0.5) / 0.5).permute(2, 0, 1))
    (tmp_path / "b.png").unlink()
    assert torch.equal(pictures.images(np.array([1])).pixels, first)  # from memory
    assert torch.equal(pickle.loads(pickle.dumps(pictures)).images(np.array([1])).pixels, first)


def test_unequal_pictures_are_padded_and_given_back_without(tmp_path: Path) -> None:
    pictures = [torch.randn(3, 4, 6), torch.randn(3, 2, 8), torch.randn(3, 4, 6)]
    images = Images.of(pictures)
    assert images.pixels.shape == (3, 3, 4, 8) and images.size_of(1) == (2, 8)
    for numbers, pixels in images.by_size():
        assert all(torch.equal(one, pictures[number]) for number, one in zip(numbers, pixels, strict=True))
    assert Images.of([pictures[0], pictures[2]]).sizes is None and len(Images.of([]).pixels) == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is an empty file"), (b"no picture", "is no picture of a known kind"), (b"\xff\xd8\xff\xe0", "picture")],
)
def test_a_broken_picture_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (folder(tmp_path) / "b.png").write_bytes(content)
    with pytest.raises(UserError, match=rf"b\.png.*{message}|{message}.*b\.png"):
        opened(tmp_path).images(np.array([1]))


def test_a_rule_that_cannot_be_followed_is_refused() -> None:
    with pytest.raises(UserError, match="the longest side is 32 pixels, but the short one 64"):
        ImageResize(64, longest=32)
    with pytest.raises(UserError, match="pictures of 16 pixels are smaller than one cell of 32 pixels"):
        ImageResize(16, longest=64, multiple=32)
    with pytest.raises(UserError, match="were to keep their shape up to 64 pixels, but this backbone reads squares of"):
        PixelFormat.of(build_backbone("mixer_s32_224", size=32), longest=64)
    with pytest.raises(UserError, match="0 cells cannot be pooled into one"):
        PixelFormat.of(build_backbone("patches", size=32), pool=0)
