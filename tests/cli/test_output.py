"""What readers see lines up, and nothing of it is lost."""

from __future__ import annotations

import json
from pathlib import Path

from mm_kptm.cli import output


def test_pairs_line_up_and_nest(capsys):
    output.print_pairs({"name": "x", "accuracy": 0.123456, "sizes": {"dim": 8}, "none": None})
    assert capsys.readouterr().out == "name      x\naccuracy  0.1235\nsizes\n  dim  8\nnone\n"


def test_a_long_list_takes_a_line_for_each(capsys):
    output.print_pairs({"short": ["a", "b"], "long": ["x" * 60, "y" * 60]})
    assert capsys.readouterr().out == f"short  a, b\nlong\n  {'x' * 60}\n  {'y' * 60}\n"


def test_rows_stand_under_their_names(capsys):
    output.print_rows([{"name": "a", "reads": ["text"]}, {"name": "long", "reads": ["regions", "text"]}])
    heading, _, first, second = capsys.readouterr().out.splitlines()
    assert heading.index("reads") == first.index("text") == second.index("regions")


def test_no_rows_print_nothing(capsys):
    output.print_rows([])
    assert capsys.readouterr().out == ""


def test_json_keeps_letters_and_spells_out_paths(capsys):
    output.print_json({"word": "二十七", "path": Path("a/b"), "pair": (1, 2)})
    text = capsys.readouterr().out
    assert "二十七" in text
    assert json.loads(text) == {"word": "二十七", "path": "a/b", "pair": [1, 2]}


def test_for_a_machine_chatter_goes_to_stderr(capsys):
    with output.only_json(True):
        print("chatter")
    with output.only_json(False):
        print("text")
    out, err = capsys.readouterr()
    assert (out, err) == ("text\n", "chatter\n")
