"""What a JSON object holds is read by key and kind, or named with its place."""

from __future__ import annotations

import pytest

from mm_kptm.errors import UserError
from mm_kptm.io.records import Record, read_lines

RECORD = Record({"id": 7, "label": "x", "share": 0.5, "n": 3.0, "seen": False, "gone": None, "odd": float("nan")}, "f")


def test_values_are_read_by_kind():
    assert (RECORD.text("id"), RECORD.text("label"), RECORD.text("gone", "-"), RECORD.text("none", "-")) == (
        "7", "x", "-", "-",
    )  # fmt: skip
    assert (RECORD.share("share"), RECORD.count("n"), RECORD.truth("seen"), RECORD.truth("none", True)) == (
        0.5, 3, False, True,
    )  # fmt: skip
    assert RECORD.items("gone") == [] and RECORD.records("none", allow_none=True) == []
    assert not RECORD.has("gone") and RECORD.has("seen")


@pytest.mark.parametrize(
    ("read", "sentence"),
    [
        (lambda: RECORD.text("none"), "f has no 'none'; it has id, label, share, n, seen, gone, odd"),
        (lambda: RECORD.text("seen"), "f: 'seen' must be a text, but it is false"),
        (lambda: RECORD.share("id"), "f: 'id' must be a number between 0 and 1, but it is 7"),
        (lambda: RECORD.count("share"), "f: 'share' must be a whole number of 0 or more, but it is 0.5"),
        (lambda: RECORD.count("odd"), "f: 'odd' must be a whole number of 0 or more, but it is NaN"),
        (lambda: RECORD.get("odd", float), "f: 'odd' must be a number, but it is NaN"),
        (lambda: RECORD.truth("id"), "f: 'id' must be true or false, but it is 7"),
    ],
)
def test_a_value_of_another_kind_is_named(read, sentence):
    with pytest.raises(UserError) as caught:
        read()
    assert str(caught.value) == sentence


def test_a_file_of_nothing_may_be_allowed(tmp_path):
    (tmp_path / "a.jsonl").write_text("\n")
    assert read_lines(tmp_path / "a.jsonl", allow_empty=True) == []
    with pytest.raises(UserError, match=r"a\.jsonl is empty"):
        read_lines(tmp_path / "a.jsonl")
