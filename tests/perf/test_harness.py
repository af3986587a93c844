"""The benchmarks measure what they say: rotation, ratios inside rounds, parity before time, floors from history."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import harness, history
from benchmarks.harness import Case, Ratio, Unequal, measure, order, within
from benchmarks.machine import machine, machine_key
from benchmarks.report import line, table
from benchmarks.texts import Texts, skewed_lengths


def case(**variants: Any) -> Case:
    return Case("toy", "a toy", "things", 2.0, variants, check=dict)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that tests advance by hand."""
    time = [0.0]
    monkeypatch.setattr(harness.time, "process_time", lambda: time[0])
    return time


def test_rounds_rotate_and_the_warm_ones_are_not_counted(clock: list[float]) -> None:
    calls: list[str] = []

    def takes(name: str, seconds: float) -> Any:
        def run() -> float:
            calls.append(name)
            clock[0] += seconds
            return 2.0

        return run

    timing = measure(case(peer=takes("peer", 6.0), ours=takes("ours", 2.0)), rounds=3, warmup=1)
    assert calls == ["ours", "peer", "peer", "ours", "ours", "peer", "peer", "ours"]
    assert timing.seconds == {"peer": [6.0] * 3, "ours": [2.0] * 3} and timing.clock == "cpu"
    assert timing.ratio().median == 3.0 and not timing.ratio().noisy


def test_a_ratio_is_formed_inside_each_round() -> None:
    """A neighbour that slows whole rounds changes nothing; the ratio of the medians would say 2."""
    ratio = Ratio.of([4.0, 40.0, 400.0, 4.0, 8.0], [1.0, 10.0, 100.0, 1.0, 2.0])
    assert (ratio.low, ratio.median, ratio.high) == (4.0, 4.0, 4.0)


def test_rounds_that_disagree_are_noisy() -> None:
    assert Ratio.of([1.0, 2.0, 3.0, 4.0], [1.0] * 4).noisy
    assert not Ratio.of([1.0, 1.01, 1.02, 1.03], [1.0] * 4).noisy


def test_a_variant_that_does_less_reports_no_time() -> None:
    with pytest.raises(Unequal, match=r"^toy: ours did 1\.0 of 2\.0 things$"):
        measure(case(peer=lambda: 2.0, ours=lambda: 1.0), rounds=1)


@pytest.mark.parametrize("difference", [2e-5, float("nan")])
def test_parity_has_limits(difference: float) -> None:
    assert within({"loss": 1e-6}, {"loss": 1e-5}, "toy") == {"loss": 1e-6}
    with pytest.raises(Unequal, match=r"^toy: loss differs by .* from the peer, more than 1e-05$"):
        within({"loss": difference}, {"loss": 1e-5}, "toy")


def test_every_variant_begins_once() -> None:
    assert {order("abc", turn)[0] for turn in range(3)} == set("abc")


def test_a_machine_is_described_without_its_name() -> None:
    described = machine()
    assert set(described) == {"cpu", "flags", "cores", "ram_gib", "gpu", "driver", "python", "torch"}
    assert machine_key(described) == machine_key(machine())


def record(ratio: float, *, noisy: bool = False, **more: Any) -> dict[str, Any]:
    return {
        "case": "g01",
        "title": "a title",
        "machine_key": "m",
        "protocol_hash": "p",
        "threads": 1,
        "noisy": noisy,
        "ratios": {"ours": {"median": ratio, "low": ratio, "high": ratio}},
        "seconds": {"peer": ratio, "ours": 1.0},
        "gflop": {"peer": 1.0, "ours": 1.0},
        "peak_bytes": {"peer": 1, "ours": 1},
        "work_per_s": 1.0,
        "unit": "things",
        "clock": "cpu",
        "utc": "2020-01-01T00:00:00Z",
        **more,
    }


def test_a_floor_is_made_of_the_last_quiet_records_of_the_same_protocol() -> None:
    past = [
        *(record(100.0) for _ in range(3)),  # too long ago
        *(record(ratio) for ratio in (9.0, 10.0, 11.0, 10.0, 10.0)),
        record(50.0, noisy=True),
        record(50.0, protocol_hash="another"),
        record(50.0, machine_key="another"),
        record(50.0, threads=2),
    ]
    assert history.floor(record(1.0), past) == pytest.approx(8.0)
    assert history.floor(record(1.0), past[-4:]) is None


def test_history_is_kept_per_kind_of_machine(tmp_path: Path) -> None:
    for key in ("a", "b", "a"):
        history.append(record(1.0, machine_key=key), tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.jsonl", "b.jsonl"]
    assert [old["machine_key"] for old in history.read(tmp_path)] == ["a", "a", "b"]


def test_the_table_shows_the_latest_quiet_record_and_the_best() -> None:
    goals = {"g01": {"bar": 8.0, "goal": 10.0}}
    shown = table([record(12.0), record(9.0), record(99.0, noisy=True)], goals).splitlines()
    assert shown[1].split() == ["m", "g01", "x9.00", "9.00-9.00", "x12.00", "x8", "x10", "no", "2020-01-01T00:00:00Z"]
    assert "bar x8, goal x10" in line(record(9.0), goals) and "noisy" in line(record(9.0, noisy=True), goals)


def test_every_recorded_line_names_no_machine() -> None:
    """What is committed under ``history/`` holds neither host names nor paths."""
    for old in history.read():
        assert "/" not in old["machine_key"] and "host" not in json.dumps(old)
        assert not any(str(value).startswith("/") for value in old.values())


def test_skewed_texts_are_the_same_text_in_both_forms() -> None:
    lengths = skewed_lengths(32, 157, 0.555)
    texts = Texts.draw(lengths, 2000, torch.Generator().manual_seed(0))
    assert max(lengths) == 157 and texts.rows == sum(lengths)
    assert 0.34 < texts.rows / (32 * 157) < 0.36
    ids, seen = texts.padded()
    assert sorted(ids[seen.bool()].tolist()) == sorted(texts.tokens().ids.tolist())
    assert list(texts.tokens().layout.lengths) == sorted(lengths)
    assert sorted(i for bucket in texts.buckets(5) for i in bucket) == list(range(32))
