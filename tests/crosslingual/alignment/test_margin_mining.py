"""Mining is exact, whatever the block, and refuses what it cannot compare."""

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mm_kptm.crosslingual.alignment.margin_mining import margin_nearest, margin_scores, mine, nearest
from mm_kptm.errors import UserError


@pytest.fixture
def vectors() -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(0)
    return torch.randn(37, 8, generator=draws), torch.randn(29, 8, generator=draws)


@pytest.mark.parametrize("margin", ["ratio", "distance", "absolute"])
def test_pairs_are_those_of_brute_force(vectors, margin):
    source, target = (F.normalize(side.double()) for side in vectors)
    cosine = source @ target.T
    ahead, back = cosine.topk(4, dim=1), cosine.topk(4, dim=0)
    mean = (ahead.values.mean(1)[:, None] + back.values.mean(0)[None]) / 2
    score = {"ratio": cosine / mean, "distance": cosine - mean, "absolute": cosine}[margin]
    found = set()
    for row, columns in enumerate(ahead.indices.tolist()):
        found.add((row, max(columns, key=lambda column: score[row, column].item())))
    for column, rows in enumerate(back.indices.T.tolist()):
        found.add((max(rows, key=lambda row: score[row, column].item()), column))
    pairs, used = [], set()
    for row, column in sorted(found, key=lambda pair: -score[pair].item()):
        if ("s", row) not in used and ("t", column) not in used:
            used |= {("s", row), ("t", column)}
            if score[row, column] > 0:
                pairs.append([row, column])
    for block in (1, 7, 1024):
        mined = mine(vectors[0].double(), vectors[1].double(), margin=margin, block=block)
        assert mined.pairs.tolist() == pairs
        torch.testing.assert_close(mined.scores, torch.stack([score[row, column] for row, column in pairs]))


def test_of_equal_neighbours_the_first_is_taken_whatever_the_block():
    source, target = torch.eye(3).repeat(4, 1), torch.eye(3).repeat_interleave(5, 0)
    for k in (1, 2, 4):
        for block in (1, 5, 1024):
            mined = mine(source, target, k=k, retrieval="forward", block=block)
            assert mined.pairs[:, 1].tolist() == [0, 5, 10] * 4
            assert mine(source, target, k=k, retrieval="backward").pairs[:, 0].tolist() == [0] * 5 + [1] * 5 + [2] * 5


@pytest.mark.parametrize("block", [1, 7, 1024])
def test_a_pair_scores_alike_from_either_side(vectors, block):
    source, target = vectors
    assert len(mine(source, target, k=1, margin="distance", block=block).pairs) == 0  # both nearest: a margin of 0
    every = mine(source, target, k=1, margin="distance", min_score=-1.0, block=block)
    ahead = mine(source, target, k=1, margin="absolute", retrieval="forward", block=block)
    whole = mine(source, target, k=1, margin="absolute", retrieval="forward")
    assert len(every.pairs) > 0 and torch.equal(ahead.scores, whole.scores)


def test_translations_are_found_in_any_order(vectors):
    source = vectors[0]
    order = torch.randperm(len(source), generator=torch.Generator().manual_seed(1))
    mined = mine(3 * source, source[order])  # lengths do not matter
    assert torch.equal(order[mined.pairs[:, 1]], mined.pairs[:, 0])
    assert torch.equal(nearest(source, source[order]), order.argsort())


def test_few_sentences_have_fewer_neighbours():
    assert mine(torch.eye(2), torch.eye(2), k=4).pairs.tolist() == [[0, 0], [1, 1]]


def test_mutual_pairs_are_those_of_both_directions(vectors):
    source, target = vectors
    ahead, back = (mine(source, target, retrieval=way) for way in ("forward", "backward"))
    assert ahead.pairs[:, 0].tolist() == list(range(len(source)))
    assert back.pairs[:, 1].tolist() == list(range(len(target)))
    assert torch.equal(ahead.pairs[:, 1], margin_nearest(source, target))
    both = [pair for pair in ahead.pairs.tolist() if pair in back.pairs.tolist()]
    assert mine(source, target, retrieval="intersect").pairs.tolist() == both
    torch.testing.assert_close(margin_scores(source, target, ahead.pairs), ahead.scores)


def test_a_shift_of_one_side_is_taken_off():
    draws = torch.Generator().manual_seed(0)
    source = torch.nn.functional.normalize(torch.randn(20, 8, generator=draws))
    target = torch.nn.functional.normalize(source + torch.tensor([0.6] + [0.0] * 7))
    mined = mine(source, target, shift=True)
    right = sum(row == column for row, column in mined.pairs.tolist())
    assert right >= sum(row == column for row, column in mine(source, target).pairs.tolist())


def test_an_unknown_retrieval_is_refused(vectors):
    with pytest.raises(UserError, match=r"^pairs are retrieved by max, intersect, forward, backward, not by 'fwd'$"):
        mine(*vectors, retrieval="fwd")


def test_vectors_of_two_models_are_refused():
    with pytest.raises(UserError, match="vectors of 3 and of 4 dims cannot be compared"):
        mine(torch.ones(2, 3), torch.ones(2, 4))
    with pytest.raises(UserError, match="0 vectors are to be matched with 2"):
        nearest(torch.ones(0, 3), torch.ones(2, 3))


@pytest.mark.slow
def test_a_hundred_thousand_sentences_are_searched_within_four_gigabytes():
    """100,000 x 100,000 vectors of 256 dims: the search holds one block of similarities at a time."""
    code = (
        "import resource, torch\n"
        "from mm_kptm.crosslingual.alignment.margin_mining import nearest\n"
        "torch.manual_seed(0)\n"
        "source = torch.randn(100_000, 256)\n"
        "order = torch.randperm(100_000)\n"
        "found = nearest(source, source[order])\n"
        "assert torch.equal(found, order.argsort())\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 4 * 2**20  # kilobytes
