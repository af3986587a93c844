"""Threads: as many as there are cores to use, unless the user says otherwise."""

from __future__ import annotations

from mm_kptm.cli import threads


def test_what_the_user_set_stays():
    environment = {"OMP_NUM_THREADS": "7"}
    threads.settle(environment)
    assert environment == {"OMP_NUM_THREADS": "7", "OMP_WAIT_POLICY": "PASSIVE"}


def test_hyper_threads_count_once(tmp_path, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)
    for cpu, siblings in enumerate(("0,2", "1,3", "0,2", "1,3")):
        place = tmp_path / f"cpu{cpu}" / "topology"
        place.mkdir(parents=True)
        (place / "thread_siblings_list").write_text(siblings + "\n")
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    assert threads.physical_cores(tmp_path, tmp_path / "none") == 2


def test_without_a_topology_every_processor_is_a_core(tmp_path, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 5, 9}, raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 16)
    assert threads.physical_cores(tmp_path, tmp_path / "none") == 3


def test_a_containers_share_is_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    quota = tmp_path / "cpu.max"
    for text, cores in (("150000 100000\n", 2), ("max 100000\n", 8), ("10000 100000\n", 1)):
        quota.write_text(text)
        assert threads.physical_cores(tmp_path, quota) == cores
