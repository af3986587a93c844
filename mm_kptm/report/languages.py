"""Accuracy of arms by language and by script, with the gap of cross-lingual transfer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from mm_kptm.report.arms import ReportedArm
from mm_kptm.report.comparison import Row, Table
from mm_kptm.report.statistics import over_seeds

_LANGUAGES_BY_SCRIPT = {
    "Arabic": "ar ckb fa ks pa_Arab ps sd ug ur", "Armenian": "hy", "Bengali": "as bn", "Cherokee": "chr",
    "Chinese": "yue zh", "Cyrillic": "be bg kk ky mk mn ru sr tg tt uk", "Devanagari": "bho brx doi hi kok mr ne sa",
    "Ethiopic": "am ti", "Georgian": "ka", "Greek": "el", "Gujarati": "gu", "Gurmukhi": "pa", "Hebrew": "he yi",
    "Japanese": "ja", "Kannada": "kn", "Khmer": "km", "Korean": "ko", "Lao": "lo", "Malayalam": "ml", "Myanmar": "my",
    "Odia": "or", "Sinhala": "si", "Tamil": "ta", "Telugu": "te", "Thai": "th", "Tibetan": "bo dz",
}  # fmt: skip
_SCRIPTS = {language: script for script, languages in _LANGUAGES_BY_SCRIPT.items() for language in languages.split()}
_SUBTAGS = {"Latn": "Latin", "Cyrl": "Cyrillic", "Arab": "Arabic", "Hans": "Chinese", "Hant": "Chinese"}


def script_of(language: str) -> str:
    """The script that a language is usually written in, or the one that its code names; Latin unless another is known.

    >>> script_of("ru"), script_of("sr-Latn"), script_of("zh_Hant"), script_of("en-GB")
    ('Cyrillic', 'Latin', 'Chinese', 'Latin')
    """
    code, *subtags = language.replace("-", "_").split("_")
    named = [_SUBTAGS[one] for one in subtags if one in _SUBTAGS]
    return named[0] if named else _SCRIPTS.get(code, "Latin")


def by_language(arms: Sequence[ReportedArm], split: str, sources: Mapping[str, str]) -> Table | None:
    """Table of the accuracy in every language, their average and the transfer gap; None for one language alone.

    The gap is the accuracy in the source language minus the average of the other languages (Hu et al. 2020, XTREME,
    section 5.1); of languages in several scripts every script has its average as well. Values are means over seeds,
    with the standard deviation over seeds.

    Args:
        arms: the arms.
        split: which answers.
        sources: language of the supervision, by arm; an arm without one has no gap.
    """
    rows: list[Row] = []
    for arm in arms:
        seeds = [found for run in arm.runs if (found := _of_run(run.predictions.get(split, ())))]
        languages = sorted({language for found in seeds for language in found})
        if len(languages) < 2:
            continue
        for language in languages:
            rows.append(_row(arm.name, language, [found[language] for found in seeds if language in found]))
        scripts = sorted({script_of(language) for language in languages})
        for script in scripts if len(scripts) > 1 else ():
            of_script = [mine for found in seeds if (mine := _of_script(found, script))]
            rows.append(_row(arm.name, f"{script} script", [float(np.mean(mine)) for mine in of_script]))
        rows.append(_row(arm.name, "average", [float(np.mean(list(found.values()))) for found in seeds]))
        source = sources.get(arm.name)
        if source in languages:
            rows.append(_row(arm.name, f"gap from {source}", [_gap(found, str(source)) for found in seeds]))
    if not rows:
        return None
    return Table(
        f"Split {split}, by language",
        tuple(rows),
        "Means over seeds. The gap is the accuracy in the source language minus the average of the others.",
    )


def _of_run(predictions: Sequence[object]) -> dict[str, float]:
    scores: dict[str, list[float]] = defaultdict(list)
    for one in predictions:
        correct = getattr(one, "correct", None)
        if correct is not None:
            scores[str(getattr(one, "language", ""))].append(float(correct))
    return {language: sum(found) / len(found) for language, found in scores.items()}


def _of_script(found: Mapping[str, float], script: str) -> list[float]:
    return [score for language, score in found.items() if script_of(language) == script]


def _gap(found: Mapping[str, float], source: str) -> float:
    others = [score for language, score in found.items() if language != source]
    return found[source] - sum(others) / len(others)


def _row(arm: str, metric: str, values: Sequence[float]) -> Row:
    seeds = over_seeds(values)
    return Row(arm, metric, float(np.mean(values)), std=seeds.std)
