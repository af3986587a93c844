"""Views of pictures, encoders of images alone, and what follows them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import mm_kptm
from mm_kptm.batch import Images, Inputs
from mm_kptm.errors import UserError
from mm_kptm.vision.contrastive.augmentation import MOCO_V2, ViewAugmentation

PICTURES = [torch.rand(3, 30, 40), torch.rand(3, 50, 20)]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_views_are_drawn_from_the_generator() -> None:
    views = ViewAugmentation(size=16)
    first, second = views.pair(PICTURES, seeded(0))
    assert first.shape == (2, 3, 16, 16)
    assert 0 <= float(first.min()) <= float(first.max()) <= 1
    assert not torch.equal(first, second)
    assert torch.equal(first, views(PICTURES, seeded(0)))
    assert not torch.equal(first, views(PICTURES, seeded(1)))


def test_without_changes_a_view_is_a_crop() -> None:
    still = ViewAugmentation(size=8, least_area=1.0, jitter=0.0, grey=0.0, blur=0.0)
    flat = torch.full((3, 8, 8), 0.25)
    torch.testing.assert_close(still([flat], seeded(0))[0], flat)


@pytest.mark.parametrize(("name", "share"), [("grey", 0.2), ("flip", 0.5)])
def test_changes_are_as_frequent_as_published(name: str, share: float) -> None:
    views = ViewAugmentation(size=4, least_area=1.0, jitter=0.0, blur=0.0, grey=0.2 if name == "grey" else 0.0)
    picture = torch.zeros(3, 4, 4)
    picture[0, :, :2] = 1.0  # red on the left
    drawn = views([picture] * 400, seeded(0))
    changed = (drawn[:, 0] == drawn[:, 1]).all((1, 2)) if name == "grey" else drawn[:, 0, :, 3].mean(1) > 0.5
    assert abs(float(changed.float().mean()) - share) < 0.08


def test_moco_changes_less() -> None:
    assert MOCO_V2.least_area > ViewAugmentation().least_area
    assert MOCO_V2.brightness < ViewAugmentation().brightness
    with pytest.raises(UserError, match="grey of a view is 2, but must lie between 0 and 1"):
        ViewAugmentation(grey=2)
    assert ViewAugmentation(size=5)([], seeded(0)).shape == (0, 3, 5, 5)


def test_a_moco_checkpoint_is_read(tmp_path: Path) -> None:
    """Under the names of the released file, with the prefix of DataParallel."""
    system = mm_kptm.build(
        "moco", seed=0, backbone="test_resnet", heads={"momentum-queue": {"queue_size": 6, "dim": 4}}
    )
    head = system.head("momentum-queue")
    published = {"module.queue": head.queue.keys.detach().T + 1, "module.queue_ptr": torch.tensor([3])}
    for side, backbone, projection in (
        ("q", system.encoder.backbone, head.projection),
        ("k", head.slow.backbone, head.slow_projection),
    ):
        published |= {f"module.encoder_{side}.{name}": value + 1 for name, value in backbone.state_dict().items()}
        published |= {f"module.encoder_{side}.fc.{name}": value + 1 for name, value in projection.state_dict().items()}
    save_file({name: value.contiguous() for name, value in published.items()}, tmp_path / "moco.safetensors")
    loaded = mm_kptm.load("moco", tmp_path / "moco.safetensors", backbone="test_resnet")
    assert int(loaded.head("momentum-queue").queue.pointer) == 3
    for name, value in system.state_dict().items():
        if not name.endswith(("num_batches_tracked", "pointer")):
            torch.testing.assert_close(loaded.state_dict()[name], value + 1)


def test_a_simclr_system_reads_images() -> None:
    system = mm_kptm.build("simclr", seed=0, backbone="test_resnet")
    inputs = Inputs(images=Images(pixels=torch.rand(2, 3, 32, 32)))
    pooled = system(inputs).pooled
    assert system.head("projection")(pooled).shape == (2, 128)
    with pytest.raises(UserError, match="timm has no backbone 'resnet5'"):
        mm_kptm.build("simclr", backbone="resnet5")


def test_torchvision_names_fill_simclr(tmp_path: Path) -> None:
    import torchvision

    theirs = torchvision.models.resnet50().state_dict()
    save_file({name: value.contiguous() for name, value in theirs.items()}, tmp_path / "resnet.safetensors")
    system = mm_kptm.load("simclr", tmp_path / "resnet.safetensors")
    torch.testing.assert_close(system.encoder.backbone.layer4[2].conv3.weight, theirs["layer4.2.conv3.weight"])
    assert not system.heads
