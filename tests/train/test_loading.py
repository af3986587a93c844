"""Batches are made by as many processes as the settings say, or as the device can use."""

import pytest
import torch

from mm_kptm.train.loading import num_workers_for


@pytest.mark.parametrize(
    ("asked", "device", "found"), [(None, "cpu", 0), (3, "cpu", 3), (0, "cuda", 0), (None, "cuda", 4)]
)
def test_workers_suit_the_device_unless_the_settings_say_how_many(
    asked: int | None, device: str, found: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 16)
    assert num_workers_for(asked, torch.device(device)) == found


def test_no_more_workers_than_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert num_workers_for(None, torch.device("cuda")) == 2
