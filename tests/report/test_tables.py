"""Terminal tables line up, in every script, and say what stands beside a number."""

import json

from mm_kptm.report import Claim, Comparison, Row, Table, comparison_text
from mm_kptm.report.comparison import as_json
from mm_kptm.report.tables import aligned, table_text, width

ROWS = (
    Row("true vision", "accuracy", 0.842, 0.82, 0.861, 1200, std=0.011),
    Row("没有图像", "accuracy", 0.05, 0.031, 0.07, 1200),
    Row("majority", "accuracy", 0.11, baseline=True),
)
COMPARISON = Comparison(
    "Number World",
    "demo",
    3,
    (Table("Vision", ROWS, "unseen scans"),),
    (Claim("vision gap", 0.79, 0.5, True, "at least"), Claim("fixed graph follows", 0.31, 0.3, False, "at most")),
)


def test_a_table_reads_as_printed():
    assert table_text(Table("Vision", ROWS[::2])).splitlines() == [
        "Vision: accuracy",
        "  arm          value  std  95 % interval     n",
        "  ────────────────────────────────────────────",
        "  true vision   84.2  1.1   82.0 to 86.1  1200",
        "  (majority)    11.0",
    ]


def test_columns_line_up_in_cells_of_the_terminal():
    lines = table_text(Table("Vision", ROWS)).splitlines()[1:]
    ends = {width(line[: line.index("1200")]) for line in lines if "1200" in line}
    assert len(ends) == 1


def test_a_combining_letter_takes_no_cell():
    assert width("e\u0301") == 1
    assert width("二十七") == 6


def test_a_column_that_nothing_fills_is_left_out():
    assert aligned([("arm", "std"), ("a", "")], left=1) == ["arm", "───", "a"]


def test_metrics_get_a_column_when_they_differ():
    rows = (Row("a", "follows", 0.9), Row("a", "keeps", 0.02))
    text = table_text(Table("Knowledge", rows))
    assert text.startswith("Knowledge\n") and "follows" in text and "keeps" in text


def test_everything_printed_says_its_tier_and_seeds():
    text = comparison_text(COMPARISON)
    assert text.startswith("Number World (demo tier, 3 seeds; values in per cent)\n")
    assert "holds  vision gap: 79.0 (at least 50.0)" in text
    assert "FAILS  fixed graph follows: 31.0 (at most 30.0)" in text


def test_machines_read_the_same_numbers():
    read = json.loads(json.dumps(as_json(COMPARISON)))
    assert read["tables"][0]["rows"][0] == {
        "arm": "true vision",
        "metric": "accuracy",
        "value": 0.842,
        "low": 0.82,
        "high": 0.861,
        "n": 1200,
        "baseline": False,
        "std": 0.011,
    }
    assert (read["tier"], read["seeds"]) == ("demo", 3)
