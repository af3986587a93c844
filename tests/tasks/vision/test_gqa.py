"""GQA's metrics on a handful of questions, worked out by hand."""

import pytest

from mm_kptm.tasks.vision.gqa import BINARY, GQA, OPEN, GqaExample


def example(id_, target, *, kind=OPEN, balanced=True, entailed=(), group="colour", **more):
    return GqaExample(
        id_,
        "query",
        "en",
        "image-1",
        target,
        balanced=balanced,
        kind=kind,
        answer_group=group,
        entailed=entailed,
        **more,
    )


def rows(pairs):
    task = GQA.__new__(GQA)  # rows and metrics ask nothing of the model
    return task, [GQA.row(task, about, answer) for about, answer in pairs]


def test_each_metric_is_that_of_the_released_evaluation():
    allowed = {"valid": frozenset({"red", "blue"}), "plausible": frozenset({"red"})}
    task, made = rows(
        [
            (example("1", "red", entailed=("2", "3"), **allowed), "red"),  # entails 2 (right) and 3 (wrong)
            (example("2", "yes", kind=BINARY, group="yesno", entailed=("1",), **allowed), "yes"),
            (example("3", "no", kind=BINARY, group="yesno", balanced=False), "yes"),
            (example("4", "blue", entailed=("1",), **allowed), "red"),  # wrong: what it entails does not count
            (example("5", "color", group="", common=True, **allowed), "material"),
            (example("6", "red", entailed=("9",), **allowed), "red"),  # 9 is in no file
        ]
    )
    found = GQA.summary(task, made)
    assert found["balanced-accuracy"] == pytest.approx(3 / 5)
    assert found["open-accuracy"] == pytest.approx(2 / 4)
    assert found["binary-accuracy"] == 1
    # red, yes, red, material, red: yes is no colour; the question about what is common allows color, material, shape
    assert found["validity"] == pytest.approx(4 / 5)
    assert found["plausibility"] == pytest.approx(4 / 5)
    # 1 entails 2 and 3, half of them right; 2 entails 1, right
    assert found["consistency"] == pytest.approx((1 / 2 + 1) / 2)
    # colour: gold red 2, blue 1, given red 3: (3-2)^2/2 + (0-1)^2/1 = 1.5 over 3 questions; yesno: 0 over 1
    assert found["distribution"] == pytest.approx(1.5 * 3 / 4)


def test_what_the_files_do_not_say_is_left_out():
    task, made = rows([(example("1", "red", group=""), "red")])
    assert GQA.summary(task, made) == {"balanced-accuracy": 1, "open-accuracy": 1}
    assert "correct" not in rows([(example("1", ""), "red")])[1][0]
