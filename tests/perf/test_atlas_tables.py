"""Tables of Atlas's tasks: folds are put together, controls are weighted by their examples, a page keeps its rest."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from benchmarks import atlas_tasks
from benchmarks.atlas import DOCS, markdown_table, write_section
from benchmarks.atlas_tasks import FOLDS, SPLITS, TITLES, experiment_of, main, table, write_tables
from mm_kptm.errors import UserError
from mm_kptm.report import Run
from mm_kptm.report.runs import Prediction
from mm_kptm.suites.atlas.datasets.flag_questions import generate
from mm_kptm.train.parallel.processes import Preempted

PAGES = ("atlas.md", "atlas-results.json")


def run_of(fold: int, right: list[float], chance: float) -> Run:
    languages = ("en", "zh")
    answers = tuple(
        Prediction(str(at), "a", "a", one, f"family-{fold}-{at // 2}", "who", languages[at % 2])
        for at, one in enumerate(right)
    )
    split = next(iter(SPLITS["compositions"]))
    return Run(
        f"fold-{fold}", Path(), "", None, "", {}, {}, (), {split: answers}, {split: {"chance": chance}}
    )  # fmt: skip


@pytest.fixture
def rows(monkeypatch):
    monkeypatch.setitem(SPLITS, "compositions", {"test-iid": "drawings of training"})
    runs = (run_of(0, [1, 1, 1, 0], 0.5), run_of(1, [0] * 12, 0.1))
    return {row.arm: row for row in table("compositions", runs).rows}


def test_folds_are_put_together_and_controls_weighted(rows):
    whole = rows["drawings of training"]
    assert (whole.value, whole.n) == (3 / 16, 16) and whole.low < whole.value < whole.high
    assert rows["chance: drawings of training"].value == pytest.approx((4 * 0.5 + 12 * 0.1) / 16)
    assert rows["drawings of training: en"].value == 2 / 8 and rows["drawings of training: zh"].value == 1 / 8
    assert {"drawings of training: Latin script", "drawings of training: Chinese script"} <= rows.keys()


def test_every_task_has_a_file_for_each_of_its_folds(tmp_path: Path):
    assert FOLDS.keys() == SPLITS.keys()
    for task, folds in FOLDS.items():
        settings = experiment_of(task, folds[-1], tmp_path)
        assert settings.name == f"{task}-fold-{folds[-1]}" and getattr(settings.data, "fold", 0) == folds[-1]


def test_the_folds_of_two_steps_hold_out_every_country_once():
    held = []
    for fold in FOLDS["hop"]:
        data = experiment_of("hop", fold, Path()).data
        held += [code for code in data.countries if data.holds_out(code, "language_script")]
        assert len(generate(data, "test")) == data.eval_questions
    assert sorted(held) == sorted(data.countries)


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """A copy of the page and its leaderboard."""
    folder = tmp_path / "docs"
    folder.mkdir()
    for name in PAGES:
        shutil.copy(DOCS / name, folder)
    return folder


def unchanged(docs: Path) -> bool:
    return all((docs / name).read_bytes() == (DOCS / name).read_bytes() for name in PAGES)


def test_tables_of_tasks_without_runs_stay_byte_for_byte(docs: Path):
    write_tables(docs / "none", docs)
    assert unchanged(docs)


@pytest.mark.parametrize(
    ("ends", "code", "said"),
    [
        (Preempted("ended by SIGTERM"), 75, "ended by SIGTERM; the same command goes on"),
        (KeyboardInterrupt(), 130, "stopped; the same command goes on from the last checkpoint"),
        (UserError("there is no room"), 2, "there is no room"),
    ],
    ids=lambda one: type(one).__name__,
)
def test_what_ends_a_training_is_one_sentence_and_what_was_done_is_kept(
    ends, code, said, docs, tmp_path, monkeypatch, capsys
):
    """The tables hold the fold that was whole when the next one was stopped, and nothing of one asked in part."""

    def whole(task: str, fold: int, out: Path) -> None:
        if fold:
            raise ends
        for split in SPLITS[task]:
            answered(out / f"{task}-fold-0", split)
        answered(out / f"{task}-fold-2", next(iter(SPLITS[task])))

    monkeypatch.setattr(atlas_tasks, "measured", whole)
    assert main([str(tmp_path / "out"), "--task", "compositions", "--docs", str(docs)]) == code
    assert capsys.readouterr().err.strip().startswith(f"benchmarks.atlas_tasks: {said}")
    tables = {one["title"]: one for one in json.loads((docs / "atlas-results.json").read_text())["tasks"]}
    assert tables[TITLES["compositions"]]["note"].startswith("1 of 5 folds")
    assert "1 of 5 folds, one seed; `experiments/atlas/compositions.yaml`" in (docs / "atlas.md").read_text()


def answered(run: Path, split: str) -> None:
    """Leave the answers of a split in a run folder."""
    said = {"id": "0", "type": "who", "language": "en", "group": "a", "predicted": "x", "target": "x", "correct": True}
    (run / "predictions").mkdir(parents=True, exist_ok=True)
    (run / "predictions" / f"{split}.jsonl").write_text(json.dumps(said) + "\n")


def test_a_section_of_a_page_is_replaced_and_the_rest_is_kept(tmp_path: Path, rows):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- begin -->\nold\n<!-- end -->\nafter\n", encoding="utf-8")
    write_section(page, "<!-- begin -->", "<!-- end -->", "new")
    assert page.read_text(encoding="utf-8") == "before\n<!-- begin -->\n\nnew\n<!-- end -->\nafter\n"


def test_controls_stand_last_and_in_italics(rows):
    from mm_kptm.report import Table

    lines = markdown_table(Table("Title", tuple(rows.values()), "Note.")).splitlines()
    assert lines[0] == "**Title.** Note."
    assert lines[-1].startswith("| *chance: drawings of training* | accuracy | 20.0 |")
