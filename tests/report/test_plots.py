"""Drawings put values where they belong, and a template lets no text out of its place."""

import re

import pytest
from jinja2 import UndefinedError

from mm_kptm.report.comparison import Row
from mm_kptm.report.plots import Line, Panel, curves, strip, thinned, ticks
from mm_kptm.report.templating import render


def test_text_never_becomes_markup():
    evil = '<script>alert("1")</script>'
    drawn = curves(Panel(evil, (Line(evil, 0, 0, ((0, 0.3), (1, 0.4))),), "share"))
    assert "<script" not in drawn and drawn.count("&lt;script&gt;") == 3
    assert 'alert("' not in drawn  # nor does it leave its attribute


def test_a_value_that_a_template_lacks_is_an_error():
    with pytest.raises(UndefinedError):
        render("page.html")


def test_ticks_enclose_what_they_mark():
    for low, high in ((0.0, 1.0), (2.31, 2.33), (-0.4, 7.0), (0.0, 1e-3), (0.0, 250_000.0)):
        marks = ticks(low, high, 4)
        assert marks[0] <= low and marks[-1] >= high
        assert 3 <= len(marks) <= 8


def test_a_strip_puts_the_value_on_the_scale_of_its_table():
    """On 0 to 1 with 2 % free at either end, 0.5 lies in the middle and 0.75 at three quarters of 96 % and 2 %."""
    drawn = strip(Row("a", "accuracy", 0.5, 0.25, 0.75), 0.0, 1.0, [])
    assert 'cx="50%"' in drawn
    assert 'x1="26%" x2="74%"' in drawn
    assert "50.0 per cent, from 25.0 to 75.0" in drawn


def test_a_baseline_is_hollow_and_guides_the_eye_in_other_rows():
    assert 'class="hollow"' in strip(Row("chance", "accuracy", 0.1, baseline=True), 0.0, 1.0, [0.1])
    assert drawn_guides(strip(Row("a", "accuracy", 0.5), 0.0, 1.0, [0.1, 0.2])) == 2
    assert 'class="zero"' in strip(Row("a", "use", -0.5), -1.0, 1.0, [])


def drawn_guides(drawn: str) -> int:
    return drawn.count('class="guide"')


def test_a_falling_loss_falls_on_the_page():
    drawn = curves(Panel("loss", (Line("train", 0, 0, ((0, 3.0), (50, 2.0), (100, 1.0))),), "loss"))
    (path,) = re.findall(r' d="M([^"]+)"', drawn)
    places = [tuple(map(float, place.split())) for place in path.split("L")]
    xs, ys = zip(*places, strict=True)
    assert list(xs) == sorted(xs) and list(ys) == sorted(ys)  # down the page is a larger y
    assert ys[1] - ys[0] == pytest.approx(ys[2] - ys[1], abs=0.11)
    assert "<b>1</b>" in drawn


def test_seeds_of_an_arm_share_an_entry_of_the_key():
    lines = tuple(Line("vision, dev", 0, 0, ((0, 0.0), (10, last))) for last in (0.5, 0.7))
    drawn = curves(Panel("accuracy", lines, "share"))
    assert drawn.count("<li>") == 1 and "60.0 %" in drawn
    assert drawn.count('class="curve c0"') == 2


def test_a_single_measurement_is_a_dot():
    drawn = curves(Panel("accuracy", (Line("dev", 1, 0, ((0, 0.3),)),), "share"))
    assert "<circle" in drawn and "<path" not in drawn


def test_a_long_curve_keeps_its_mean_and_its_end():
    points = [(float(step), float(step % 2)) for step in range(10_000)]
    thin = thinned(points)
    assert len(thin) <= 240
    assert thin[-1] == points[-1]
    assert all(value == pytest.approx(0.5, abs=0.05) for _, value in thin[:-1])
