"""An extraction survives broken pictures and a kill, and gives the same store however it was run."""

import numpy as np
import pytest
from PIL import Image

from mm_kptm.errors import UserError
from mm_kptm.vision.extractors import extract as module
from mm_kptm.vision.extractors.build import ExtractorSettings, build_extractor
from mm_kptm.vision.extractors.extract import extract
from mm_kptm.vision.features.contract import CONTRACT, read_contract
from mm_kptm.vision.features.store import RegionStore

PATCHES = build_extractor(ExtractorSettings("patches", size=32, patch=16), None)


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    (folder / "deep").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(5):
        pixels = rng.integers(0, 256, (20 + number, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / ("deep" if number > 2 else ".") / f"{number}.png")
    (folder / "1-broken.png").write_bytes(b"no picture")
    (folder / "2-empty.jpg").write_bytes(b"")
    return folder


def test_every_picture_has_regions_and_broken_ones_are_named(tmp_path, pictures):
    told = []
    done = extract(pictures, tmp_path / "s", PATCHES, batch_size=2, begin=lambda *all: told.append(all) or told.append)
    store = RegionStore(tmp_path / "s")
    assert store.names == ["0.png", "1.png", "2.png", "deep/3.png", "deep/4.png"]
    assert store.sizes.tolist() == [[30, 20 + number] for number in range(5)]
    assert [name for name, _ in done.skipped] == ["1-broken.png", "2-empty.jpg"]
    assert "is an empty file" in done.skipped[1][1]
    assert (done.images, done.resumed) == (5, 0)
    assert told[0] == (7, 0)
    assert sum(told[1:]) == 7
    assert read_contract(tmp_path / "s" / CONTRACT) == PATCHES.contract == store.contract


def test_workers_and_batches_change_nothing(tmp_path, pictures):
    extract(pictures, tmp_path / "a", PATCHES, batch_size=1)
    extract(pictures, tmp_path / "b", PATCHES, batch_size=3, workers=2)
    for file in (tmp_path / "a").iterdir():
        assert (tmp_path / "b" / file.name).read_bytes() == file.read_bytes(), file.name


def test_a_killed_extraction_goes_on(tmp_path, pictures, monkeypatch):
    extract(pictures, tmp_path / "whole", PATCHES)
    read = module.read_picture

    def stops(path, **options):
        if path.name == "2.png":
            raise KeyboardInterrupt
        return read(path, **options)

    monkeypatch.setattr(module, "read_picture", stops)
    with pytest.raises(KeyboardInterrupt):
        extract(pictures, tmp_path / "s", PATCHES, batch_size=1)
    seen = []
    monkeypatch.setattr(module, "read_picture", lambda path, **options: seen.append(path.name) or read(path, **options))
    done = extract(pictures, tmp_path / "s", PATCHES, batch_size=1)
    assert (done.images, done.resumed) == (5, 2)
    assert "0.png" not in seen
    for file in (tmp_path / "whole").iterdir():
        assert (tmp_path / "s" / file.name).read_bytes() == file.read_bytes(), file.name


def test_another_extractor_does_not_go_on(tmp_path, pictures, monkeypatch):
    monkeypatch.setattr(module, "_batches", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        extract(pictures, tmp_path / "s", PATCHES)
    other = build_extractor(ExtractorSettings("patches", size=64, patch=16), None)
    with pytest.raises(UserError, match=r"was begun with another extractor: resize is 32 x 32.* here and 64 x 64"):
        extract(pictures, tmp_path / "s", other)


def test_a_finished_store_is_left_alone(tmp_path, pictures):
    extract(pictures, tmp_path / "s", PATCHES)
    with pytest.raises(UserError, match="holds a finished store"):
        extract(pictures, tmp_path / "s", PATCHES)


def test_a_folder_of_broken_pictures_is_named(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"")
    with pytest.raises(
        UserError, match=r"no picture of 1 in .* gave regions; the first is a\.png: .* is an empty file"
    ):
        extract(tmp_path / "in", tmp_path / "s", PATCHES)


def test_numbers_that_are_none_skip_a_picture(tmp_path, pictures):
    class Overflows:
        prepare, contract, seen = PATCHES.prepare, PATCHES.contract, 0

        def extract(self, batch):
            found = PATCHES.extract(batch)
            for image in found:
                if image.image == "1.png":
                    image.features[:] = np.nan
            return found

    done = extract(pictures, tmp_path / "s", Overflows())
    assert [name for name, _ in done.skipped][-1] == "1.png"
    assert done.images == 4


def test_a_picture_that_the_network_cannot_read_is_skipped_by_itself(tmp_path, pictures):
    class Narrow:
        """Fails on any batch with the picture of 22 rows, as a convolution does on one thinner than its kernel."""

        prepare, contract = PATCHES.prepare, PATCHES.contract

        def extract(self, batch):
            if any(one.size[1] == 22 for one in batch):
                raise RuntimeError("kernel size can't be greater than actual input size\n  more of it")
            return PATCHES.extract(batch)

    done = extract(pictures, tmp_path / "s", Narrow(), batch_size=3)
    assert RegionStore(tmp_path / "s").names == ["0.png", "1.png", "deep/3.png", "deep/4.png"]
    told = "the network cannot read its 30 x 22 pixels (kernel size can't be greater than actual input size)"
    assert ("2.png", told) in done.skipped


def test_links_out_of_the_folder_are_named_and_not_read(tmp_path, pictures):
    (tmp_path / "elsewhere.png").write_bytes((pictures / "0.png").read_bytes())
    (pictures / "link.png").symlink_to(tmp_path / "elsewhere.png")
    done = extract(pictures, tmp_path / "s", PATCHES)
    assert done.skipped[0] == ("link.png", "a link that leads out of the folder")
    assert "link.png" not in RegionStore(tmp_path / "s").names
    links = tmp_path / "links"
    links.mkdir()
    (links / "a.png").symlink_to(tmp_path / "elsewhere.png")
    with pytest.raises(UserError, match=r"holds no picture but links that lead out of it \(1, such as a\.png\)"):
        extract(links, tmp_path / "t", PATCHES)
