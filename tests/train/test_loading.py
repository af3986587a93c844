"""Batches are made by as many processes as the settings say, or as the device can use, and copied beside its work."""

import os
from contextlib import contextmanager

import pytest
import torch

from mm_kptm.train import loading
from mm_kptm.train.loading import Copies, Loader, num_workers_for
from tests.train.toy import Points


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


def process_of(order: int) -> int:
    return os.getpid()


def test_workers_are_kept_from_one_pass_to_the_next() -> None:
    loader = Loader(process_of, num_workers=2)
    first, second = ([process for _, process in loader(orders)] for orders in (range(4), [7, 5, 6]))
    assert set(second) == set(first) and len(set(first)) == 2 and os.getpid() not in first
    assert [order for order, _ in loader([7, 5, 6])] == [7, 5, 6]
    assert [process for _, process in Loader(process_of, num_workers=0)([1])] == [os.getpid()]


class Stream:
    """A stream that writes down who waits for it, and who enters it."""

    def __init__(self, name: str, said: list[str]) -> None:
        self.name, self.said = name, said

    def wait_stream(self, other: "Stream") -> None:
        self.said.append(f"{self.name} waits for {other.name}")


def test_a_copy_runs_on_a_stream_of_its_own_and_the_computing_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its structure: the device is simulated."""
    said: list[str] = []
    computing, copying = Stream("computing", said), Stream("copying", said)

    @contextmanager
    def entered(stream: Stream):
        said.append(f"on {stream.name}")
        yield
        said.append(f"off {stream.name}")

    class Batch:
        def to(self, device: torch.device) -> Points:
            said.append(f"to {device}")
            return Points(torch.ones(2, 3), torch.ones(2), torch.ones(1))

    monkeypatch.setattr(torch.cuda, "Stream", lambda device: copying)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: computing)
    monkeypatch.setattr(torch.cuda, "stream", entered)
    monkeypatch.setattr(loading, "_kept_for", lambda tensor, stream: said.append(f"{tensor.dim()} for {stream.name}"))
    Copies(torch.device("cuda"))(Batch())
    assert said == [
        "on copying", "to cuda", "off copying", "computing waits for copying", "2 for computing", "1 for computing",
        "1 for computing",
    ]  # fmt: skip
    said.clear()
    Copies(torch.device("cpu"))(Batch())
    assert said == ["to cpu"]
