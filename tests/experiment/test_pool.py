"""Worker processes answer as one would, end together, and keep off stdout."""

import multiprocessing
import os
import signal

import pytest
import torch

from mm_kptm.errors import UserError
from mm_kptm.experiment.pool import outcomes


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
    with pytest.raises(UserError, match="a worker process died without a word, as it does when memory runs out"):
        list(outcomes(die, [0], workers=1))


def test_no_job_needs_no_worker():
    assert list(outcomes(describe, [], workers=1)) == []


def test_fewer_than_one_worker_is_refused():
    with pytest.raises(UserError, match="0 workers were asked for; at least 1 is needed"):
        list(outcomes(describe, [1], workers=0))
