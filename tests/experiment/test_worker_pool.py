"""Worker processes answer as one would, end together, and keep off stdout."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from mm_kptm.errors import UserError
from mm_kptm.experiment.worker_pool import WorkerDied, dealt, outcomes, visible_devices

WAITING = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have started the tests with it ignored
import multiprocessing, pathlib, sys, threading
from mm_kptm.experiment.worker_pool import outcomes

def wait(job):
    for begun in sys.argv[1:]:
        pathlib.Path(begun).touch()
    threading.Event().wait()  # until it is ended

if __name__ == "__main__":
    try:
        print("begun", flush=True)
        list(outcomes(wait, [1, 2], workers=2))
    except KeyboardInterrupt:
        print(f"stopped, {len(multiprocessing.active_children())} children")
"""


def describe(job: int) -> tuple[int, int, float]:
    """The job's square, the threads it had, and a number drawn from its own seed."""
    print("a library talks")
    generator = torch.Generator().manual_seed(job)
    return job * job, torch.get_num_threads(), torch.rand(50, 50, generator=generator).inverse().sum().item()


def refuse(job: int) -> int:
    if job == 1:
        raise UserError(f"job {job} cannot be done")
    return job


def die(job: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return job


def test_outcomes_are_those_of_one_thread_whatever_the_workers(capfd):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    expected = {job: describe(job) for job in range(3)}
    torch.set_num_threads(threads)
    capfd.readouterr()
    assert dict(outcomes(describe, range(3), workers=2)) == expected
    assert {told[1] for told in expected.values()} == {1}
    out, err = capfd.readouterr()
    assert out == ""
    assert "a library talks" in err


def test_the_mistake_of_a_job_ends_all_of_them():
    with pytest.raises(UserError, match="job 1 cannot be done"):
        list(outcomes(refuse, range(2), workers=1))
    assert not multiprocessing.active_children()


def test_a_worker_that_is_killed_is_told_of():
    with pytest.raises(WorkerDied, match="a worker process died without a word, as it does when memory runs out"):
        list(outcomes(die, [0], workers=1))


def test_ctrl_c_ends_the_workers_without_a_word_of_theirs(tmp_path):
    """It reaches the whole group of processes; the parent alone says what happens, even while workers start."""
    script = tmp_path / "wait.py"
    script.write_text(WAITING)
    process = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None and process.stdout.readline() == "begun\n"
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate()
    assert (out, err) == ("stopped, 0 children\n", "")


def test_workers_do_not_outlive_who_asked(tmp_path):
    """They hold its stderr open as long as they live."""
    script, begun = tmp_path / "wait.py", tmp_path / "begun"
    script.write_text(WAITING)
    process = subprocess.Popen([sys.executable, script, begun], stderr=subprocess.PIPE, text=True)
    while not begun.exists():
        assert process.poll() is None
        time.sleep(0.1)
    process.kill()
    _, err = process.communicate()
    assert "Traceback" not in err


def device_of(job: tuple[Path, int]) -> str:
    """The device of the worker that does the job; each waits until both have one."""
    folder, number = job
    (folder / str(number)).touch()
    while len(list(folder.iterdir())) < 2:
        time.sleep(0.01)
    return os.environ["CUDA_VISIBLE_DEVICES"]


def test_each_worker_has_a_device_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,MIG-7")
    assert sorted(dict(outcomes(device_of, [(tmp_path, 0), (tmp_path, 1)], workers=2)).values()) == ["3", "MIG-7"]


def test_devices_are_dealt_in_turn_and_read_without_starting_cuda(monkeypatch):
    assert dealt(["0", "1"], 3) == ["0", "1", "0"] and dealt([], 2) == [None, None]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_devices() == []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert visible_devices() == ["0", "1"] and not torch.cuda.is_initialized()


def test_no_job_needs_no_worker():
    assert list(outcomes(describe, [], workers=1)) == []


def test_fewer_than_one_worker_is_refused():
    with pytest.raises(UserError, match="0 workers were asked for; at least 1 is needed"):
        list(outcomes(describe, [1], workers=0))


def note(job: tuple[Path, str]) -> list[str]:
    folder, name = job
    time.sleep(0.3 if name == "slow" else 0)
    seen = sorted(file.name for file in folder.iterdir())
    (folder / name).touch()
    return seen


def test_the_first_jobs_have_ended_before_the_others_begin(tmp_path):
    jobs = [(tmp_path, "slow"), (tmp_path, "quick"), (tmp_path, "later")]
    told = dict(outcomes(note, jobs, workers=2, first=2))
    assert {"quick", "slow"} <= set(told[2])
