"""XTREME's averages: of a task over its languages, of groups of tasks, and of all (Hu et al. 2020, section 4)."""

from __future__ import annotations

from collections.abc import Mapping

from mm_kptm.errors import UserError

#: Tasks of each group, by their folders in a submission.
GROUPS = {
    "classification": ("xnli", "pawsx"),
    "structured-prediction": ("udpos", "panx"),
    "question-answering": ("xquad", "mlqa", "tydiqa"),
    "retrieval": ("bucc2018", "tatoeba"),
}


def answer_score(f1: float, exact_match: float) -> float:
    """One number for a task of question answering: the mean of F1 and exact match."""
    return (f1 + exact_match) / 2


def task_score(languages: Mapping[str, float]) -> float:
    """The mean over the languages of a task, English included.

    Raises:
        UserError: there is no language.
    """
    if not languages:
        raise UserError("a task is scored over its languages, but none was given")
    return sum(languages.values()) / len(languages)


def group_scores(tasks: Mapping[str, float]) -> dict[str, float]:
    """The mean over the tasks of each group.

    Args:
        tasks: score of every task of :data:`GROUPS`, all between 0 and 1 or all in per cent.

    Raises:
        UserError: a task is missing, or there is another one.
    """
    known = {task for group in GROUPS.values() for task in group}
    if wrong := sorted(known ^ tasks.keys()):
        what = "is no task of XTREME" if wrong[0] in tasks else "has no score"
        raise UserError(f"{wrong[0]} {what}; the average is over {', '.join(sorted(known))}")
    return {group: sum(tasks[task] for task in names) / len(names) for group, names in GROUPS.items()}


def overall(groups: Mapping[str, float]) -> float:
    """The mean over all nine tasks, from the means of their groups, which have two tasks or three.

    Raises:
        UserError: a group is missing, or there is another one.
    """
    if wrong := sorted(GROUPS.keys() ^ groups.keys()):
        raise UserError(f"the average of XTREME is over {', '.join(GROUPS)}; {wrong[0]} is missing or unknown")
    sizes = {group: len(names) for group, names in GROUPS.items()}
    return sum(sizes[group] * score for group, score in groups.items()) / sum(sizes.values())
