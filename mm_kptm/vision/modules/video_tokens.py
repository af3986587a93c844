"""Video clips as words: the leaf of a hierarchical k-means tree (VideoBERT)."""

from collections.abc import Sequence

from mm_kptm.errors import UserError


def hierarchical_token(path: Sequence[int], branching: int = 12) -> int:
    """The number of a leaf from the branch taken at every level (Sun et al. 2019, VideoBERT, section 4.1).

    >>> hierarchical_token([3, 0, 11, 7])
    5323

    Raises:
        UserError: a branch that a node does not have.
    """
    number = 0
    for branch in path:
        if not 0 <= branch < branching:
            raise UserError(f"branch {branch} was taken, but a node has branches 0 to {branching - 1}")
        number = number * branching + branch
    return number
