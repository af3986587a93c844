"""The averages that surveys print follow from the scores of their tasks and groups."""

import pytest

from mm_kptm.errors import UserError
from mm_kptm.tasks.metrics.xtreme import GROUPS, answer_score, group_scores, overall, task_score

#: Hu et al. 2020, table 2: XNLI, PAWS-X, POS, NER, XQuAD F1 / EM, MLQA, TyDiQA, BUCC, Tatoeba, average.
TABLE = {
    "mBERT": ("65.4 81.9 70.3 62.2 64.5/49.4 61.4/44.2 59.7/43.9 56.7 38.7", 59.6),
    "XLM": ("69.1 80.9 70.1 61.2 59.8/44.3 48.5/32.6 43.6/29.1 56.8 32.6", 55.5),
    "XLM-R": ("79.2 86.4 72.6 65.4 76.6/60.8 71.6/53.2 65.1/45.0 66.0 57.3", 68.1),
}
#: Means of the groups in the leaderboard, and the average: FILTER with self-teaching, X-STILTs.
LEADERBOARD = {"FILTER": ((87.5, 71.9, 68.5, 84.4), 77.0), "X-STILTs": ((83.9, 69.4, 67.2, 76.5), 73.5)}
TASKS = [task for group in GROUPS.values() for task in group]


@pytest.mark.parametrize("model", TABLE)
def test_the_average_of_a_table_is_that_of_its_tasks(model):
    cells, average = TABLE[model]
    scores = [answer_score(*map(float, cell.split("/"))) if "/" in cell else float(cell) for cell in cells.split()]
    groups = group_scores(dict(zip(TASKS, scores, strict=True)))
    assert overall(groups) == pytest.approx(average, abs=0.06)
    assert overall(groups) == pytest.approx(sum(scores) / 9)


@pytest.mark.parametrize("model", LEADERBOARD)
def test_the_average_of_the_leaderboard_is_that_of_its_groups(model):
    groups, average = LEADERBOARD[model]
    assert overall(dict(zip(GROUPS, groups, strict=True))) == pytest.approx(average, abs=0.06)


def test_languages_count_alike_and_nothing_may_be_missing():
    assert task_score({"en": 80.0, "sw": 60.0}) == 70.0
    with pytest.raises(UserError, match=r"^a task is scored over its languages, but none was given$"):
        task_score({})
    scores = dict.fromkeys(TASKS, 1.0)
    with pytest.raises(UserError, match=r"^mlqa has no score; the average is over bucc2018, "):
        group_scores({task: score for task, score in scores.items() if task != "mlqa"})
    with pytest.raises(UserError, match=r"^wikiann is no task of XTREME; "):
        group_scores({**scores, "wikiann": 1.0})
    with pytest.raises(UserError, match=r"retrieval is missing or unknown$"):
        overall({group: 1.0 for group in GROUPS if group != "retrieval"})
