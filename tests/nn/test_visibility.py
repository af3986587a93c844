"""Who sees whom, by definition."""

import pytest
import torch
from torch import Tensor

from mm_kptm.batch import AttentionMask, SequenceLayout
from mm_kptm.errors import UserError
from mm_kptm.nn.visibility import Branches, Causal, LinkMask, Matrix, OpenBranches, Prefix


def cells(mask: AttentionMask, rows: int) -> Tensor:
    """The whole matrix, [rows, rows]."""
    numbers = torch.arange(rows)
    return mask.mask_mod(numbers[:, None], numbers[None, :]).expand(rows, rows).int()


def test_causal_rows_see_no_later_row() -> None:
    assert torch.equal(cells(Causal(), 4), torch.ones(4, 4).tril().int())


def test_a_prefix_sees_itself_and_is_seen_by_all() -> None:
    prefix = Prefix(torch.tensor([True, True, False, False]))
    assert cells(prefix, 4).tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]


def test_two_branches_of_one_word_do_not_see_each_other() -> None:
    tree = Branches(words=torch.tensor([0, 1, 1, 1, 1]), branches=torch.tensor([0, 0, 1, 1, 2]))
    assert cells(tree, 5).tolist() == [
        [1, 1, 0, 0, 0],
        [1, 1, 1, 1, 1],
        [0, 1, 1, 1, 0],
        [0, 1, 1, 1, 0],
        [0, 1, 0, 0, 1],
    ]


def test_without_a_visible_matrix_every_row_sees_every_row_and_new_ones() -> None:
    tree = OpenBranches(words=torch.tensor([0, 1, 1, 1]), branches=torch.tensor([0, 0, 1, 2]))
    assert cells(tree, 4).all()
    moved = tree.scatter(torch.tensor([0, 1, 3, 4]), 5)
    assert isinstance(moved, OpenBranches) and moved.branches.tolist() == [0, 0, 0, 1, 2] and cells(moved, 5).all()


def test_a_tail_off_the_trunk_sees_itself_and_its_links() -> None:
    """Rows: a word, an entity of the text, a tail, another one, and three links: two share their ends."""
    trunk = torch.tensor([1, 1, 0, 0, 0, 0, 0]).bool()
    links = LinkMask.of(SequenceLayout((7,)), trunk, [[(4, 1, 2), (5, 2, 1), (6, 3, 3)]])
    assert cells(links, 7).tolist() == [
        [1, 1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 1, 1, 0],
        [0, 0, 1, 0, 1, 1, 0],
        [0, 0, 0, 1, 0, 0, 1],
        [0, 1, 1, 0, 1, 0, 0],
        [0, 1, 1, 0, 0, 1, 0],
        [0, 0, 0, 1, 0, 0, 1],
    ]


def test_links_count_in_their_own_sequence() -> None:
    trunk = torch.tensor([1, 0, 0, 1, 0, 0]).bool()
    links = LinkMask.of(SequenceLayout((3, 3)), trunk, [[(2, 0, 1)], [(2, 0, 1)]])
    rows = torch.arange(6).view(2, 3)
    first, second = links.mask_mod(rows[:, :, None], rows[:, None, :])
    assert torch.equal(first, second) and first.int().tolist() == [[1, 0, 1], [0, 1, 1], [1, 1, 1]]


def test_new_rows_see_the_trunk_but_no_link_and_no_tail() -> None:
    links = LinkMask.of(SequenceLayout((3,)), torch.tensor([True, False, False]), [[(2, 0, 1)]])
    joined = cells(links.scatter(torch.tensor([0, 1, 2]), 5), 5)
    assert joined[3].tolist() == joined[:, 3].tolist() == [1, 0, 0, 1, 1]


def test_a_matrix_is_itself() -> None:
    first, second = torch.rand(3, 3) < 0.5, torch.rand(2, 2) < 0.5
    mask = Matrix.of([first, second])
    whole = cells(mask, 5).bool()
    assert torch.equal(whole[:3, :3], first)
    assert torch.equal(whole[3:, 3:], second)


@pytest.mark.parametrize("shape", [(2, 3), (4,)])
def test_a_matrix_that_is_not_square_is_refused(shape: tuple[int, ...]) -> None:
    expected = rf"^visibility 1 must be a square matrix, but its shape is \[{', '.join(map(str, shape))}\]$"
    with pytest.raises(UserError, match=expected):
        Matrix.of([torch.ones(2, 2), torch.ones(shape)])


@pytest.mark.parametrize(
    "mask",
    [
        Prefix(torch.tensor([True, False, False])),
        Branches(words=torch.tensor([0, 1, 1]), branches=torch.tensor([0, 0, 1])),
        Matrix.of([torch.tensor([[1, 0, 1], [1, 1, 0], [0, 0, 1]]).bool()]),
        Causal(),
        LinkMask.of(SequenceLayout((3,)), torch.tensor([True, False, False]), [[(2, 0, 1)]]),
    ],
    ids=lambda mask: type(mask).__name__,
)
def test_moved_rows_keep_what_they_see(mask: AttentionMask) -> None:
    """Regions put between or behind tokens leave the tokens' own visibility as it was."""
    places = torch.tensor([0, 1, 3])
    moved = cells(mask.scatter(places, 5), 5)
    assert torch.equal(moved[places][:, places], cells(mask, 3))


def test_new_rows_see_the_trunk_but_no_branch() -> None:
    tree = Branches(words=torch.tensor([0, 1, 1]), branches=torch.tensor([0, 0, 1]))
    joined = cells(tree.scatter(torch.tensor([0, 1, 2]), 5), 5)
    assert joined[3].tolist() == joined[:, 3].tolist() == [1, 1, 0, 1, 1]


def test_new_rows_and_those_of_a_matrix_see_each_other() -> None:
    joined = cells(Matrix.of([torch.eye(2).bool()]).scatter(torch.tensor([0, 1]), 3), 3)
    assert joined.tolist() == [[1, 0, 1], [0, 1, 1], [1, 1, 1]]


def test_visibility_moves_to_a_device_whole() -> None:
    tree = Branches(words=torch.tensor([0]), branches=torch.tensor([0])).to("meta")
    assert tree.words.is_meta and tree.branches.is_meta
