import gzip
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mm_kptm.data.masking.units import closed
from mm_kptm.errors import UserError
from mm_kptm.knowledge.objectives.knowledge_masking import LabelledText, one_draw_each, read_labelled, tokens_in_units
from mm_kptm.objectives.tokens import Bernoulli, Masking

LINE = "1 11 12 13 2 14 2;0 0 0 0 0 1 1;0 1 2 3 4 5 6;-1 0 1 0 -1 0 -1;1"
TEXT = LabelledText((1, 11, 12, 13, 2, 14, 2), (0, 0, 0, 0, 0, 1, 1), tuple(range(7)), (-1, 0, 1, 0, -1, 0, -1), True)
MASKING = Masking(mask_id=3, pool=(1, 200), never=frozenset())


def written(folder: Path, *lines: str) -> Path:
    file = folder / "stage.txt"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def test_a_line_becomes_a_text(tmp_path: Path) -> None:
    other = LINE[:-1] + "0"
    assert list(read_labelled(written(tmp_path, LINE, other))) == [TEXT, replace(TEXT, follows=False)]


def test_packed_files_read_alike(tmp_path: Path) -> None:
    packed = tmp_path / "stage.gz"
    packed.write_bytes(gzip.compress(LINE.encode()))
    assert list(read_labelled(packed)) == [TEXT]


def test_long_texts_are_left_out(tmp_path: Path) -> None:
    file = written(tmp_path, LINE)
    assert list(read_labelled(file, max_length=6)) == [] and len(list(read_labelled(file, max_length=7))) == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 2;0 0;0 1", "line 2 has 3 fields; token ids, segments, positions, labels and a class make five"),
        ("1 b;0 0;0 1;-1 -1;1", "line 2 should hold whole numbers, and one number in its last field"),
        ("1 2;0 0;0 1;-1 -1;1 0", "line 2 should hold whole numbers, and one number in its last field"),
        ("1 2;0 0;0;-1 -1;1", "line 2 has 2 token ids but 1 positions"),
        ("1 2;0 0;0 1;-1 7;1", "line 2 has the label 7; 0 begins a unit, 1 continues it, -1 is a separator"),
    ],
)
def test_other_lines_are_refused_by_number(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        list(read_labelled(written(tmp_path, LINE, line)))


@pytest.mark.parametrize(
    "content",
    [b"1 2;0 0", gzip.compress(LINE.encode() * 99, mtime=0)[:-20], b"\xff"],
    ids=["not packed", "cut off", "no text"],
)
def test_a_file_that_is_not_whole_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / ("stage.txt" if content == b"\xff" else "stage.gz")
    file.write_bytes(content)
    with pytest.raises(
        UserError, match=r"stage\.(gz, line 1 has 2 fields|gz breaks off after|txt, line 1 is not UTF-8)"
    ):
        list(read_labelled(file))


def test_a_missing_file_is_named() -> None:
    with pytest.raises(UserError, match=r"looked for in nowhere\.gz, but there is no such file"):
        next(read_labelled("nowhere.gz"))


def test_a_stage_hides_units_and_another_pieces() -> None:
    tokens = tokens_in_units([TEXT, TEXT], [True, False])
    assert tokens.mask_groups is not None
    first, second = (units.tolist() for units in tokens.layout.split(tokens.mask_groups))
    assert first == [-1, 0, 0, 1, -1, 2, -1]
    assert second[0] == second[4] == second[6] == -1 and len({*second}) == 5
    assert not set(first) & set(second) - {-1}
    assert tokens.segments.tolist() == [*TEXT.segments] * 2


def test_separators_are_never_hidden_and_every_unit_is() -> None:
    tokens = tokens_in_units([TEXT] * 3, [True, False, True])
    _, rows = replace(MASKING, policy=Bernoulli(1.0)).mask(tokens, torch.Generator())
    assert rows.tolist() == [7 * text + place for text in range(3) for place in (1, 2, 3, 5)]


def test_one_number_decides_for_a_unit_and_its_first_row() -> None:
    """Below the rate the first row is masked, replaced or kept; the second one has a number of its own."""
    tokens = tokens_in_units([TEXT], [True], units=closed)
    for first, second, ids in (
        (0.10, 0.50, [3, 3]),
        (0.02, 0.15, [100, 100]),
        (0.01, 0.05, [11, 12]),
        (0.14, 0.01, [3, 12]),
        (0.16, 0.01, None),
    ):
        uniform = torch.full((7,), 0.99).index_copy(0, torch.tensor([1, 2]), torch.tensor([first, second]))
        draws = one_draw_each(uniform, torch.full((7,), 99.5 / 199), tokens.mask_groups)
        hidden, rows = MASKING.mask(tokens, torch.Generator(), draws=draws)
        assert rows.tolist() == ([] if ids is None else [1, 2])
        assert ids is None or hidden.ids[1:3].tolist() == ids
        assert torch.equal(hidden.ids[3:], tokens.ids[3:])


def test_shares_of_the_released_draws_are_those_of_the_paper() -> None:
    """15 % of units; of their rows 80 % masked, 10 % swapped, 10 % kept."""
    count = 60_000
    units = torch.arange(count) // 3
    draw = torch.Generator().manual_seed(0)
    draws = one_draw_each(torch.rand(count, generator=draw), torch.rand(count, generator=draw), units)
    hidden = draws.choose < 0.15
    assert torch.equal(hidden.view(-1, 3).all(1), hidden.view(-1, 3).any(1))
    assert abs(float(hidden.float().mean()) - 0.15) < 0.01
    for rows in (slice(0, None, 3), slice(1, None, 3)):
        treated = draws.treat[rows][hidden[rows]]
        shares = [(treated < 0.8).float().mean(), ((treated >= 0.8) & (treated < 0.9)).float().mean()]
        assert abs(float(shares[0]) - 0.8) < 0.03 and abs(float(shares[1]) - 0.1) < 0.02


def test_draws_for_no_row_are_none() -> None:
    nothing = torch.empty(0)
    assert len(one_draw_each(nothing, nothing, torch.empty(0, dtype=torch.long)).choose) == 0
