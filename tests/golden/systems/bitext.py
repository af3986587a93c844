"""Readers of bitext and clean-up rules; the truth lies in ``config.json``."""

from typing import Any

import numpy as np
import torch

from mm_kptm.crosslingual.corpora.cleaning import (
    Joint,
    LengthRatio,
    Scripts,
    Sidewise,
    WordCount,
    letters,
    long_word,
    no_tags,
    numerals,
    punctuation,
    repetition,
    similarity,
    substring,
    word_length,
)
from mm_kptm.crosslingual.corpora.gettext_catalogue import Message, read_catalogue
from mm_kptm.crosslingual.corpora.tmx import read_tmx, tmx_units
from tests.golden.case import Answer, Case

Answers = tuple[dict[str, Answer], dict[str, Any]]


def po(case: Case) -> Answers:
    catalogue = read_catalogue(case.folder / "input.po")
    messages = catalogue.messages
    usable = [message for message in messages if message.translated]
    forms = {message.source: message.forms for message in usable if message.plural is not None}
    indices, chosen = case.config["plural_index"], case.config["ngettext"]
    counts = [
        f"{len(usable)} translated messages",
        f"{sum('fuzzy' in message.flags and not message.obsolete for message in messages)} fuzzy translation",
        f"{sum(not any(message.forms.values()) for message in messages)} untranslated message.",
    ]
    ours = {
        "encoding": catalogue.encoding,
        "metadata": catalogue.header,
        "entries": [entry(message) for message in messages],
        "pairs": [
            {"context": message.context, "source": message.source, "target": message.forms[0]}
            for message in usable
            if message.plural is None
        ],
        "plural_index": {count: catalogue.plural_index(int(count)) for count in indices},
        "ngettext": [
            {"id": one["id"], "n": one["n"], "result": forms[one["id"]][catalogue.plural_index(one["n"])]}
            for one in chosen
        ],
        "msgfmt_statistics": ", ".join(counts),
    }
    return {name: Answer(value) for name, value in ours.items()}, case.config


def entry(message: Message) -> dict[str, Any]:
    plural = message.plural is not None
    return {
        "context": message.context,
        "id": message.source,
        "id_plural": message.plural,
        "string": None if plural else message.forms[0],
        "plural_strings": {str(index): form for index, form in message.forms.items()} if plural else None,
        "flags": list(message.flags),
        "obsolete": message.obsolete,
    }


def tmx(case: Case) -> Answers:
    path, pairs = case.folder / "input.tmx", case.config["pairs"]
    units = [
        {"tuid": unit.identifier, "segments": [list(segment) for segment in unit.segments]} for unit in tmx_units(path)
    ]
    found = [list(pair) for pair in read_tmx(path, tuple(pairs["languages"]))]
    return {"units": Answer(units), "pairs": Answer(found)}, {"units": case.config["units"], "pairs": pairs["list"]}


def filters(case: Case) -> Answers:
    ours: dict[str, Answer] = {}
    theirs: dict[str, Any] = {}
    pairs = [(source, target) for source, target in case.config["pairs"]]
    for number, applied in enumerate(case.config["filters"]):
        rule, name = rule_of(applied["filter"], applied["options"]), f"{number} {applied['filter']}"
        scores = np.array([rule.score(pair) for pair in pairs], dtype=float)
        truth = np.array(applied["scores"], dtype=float)  # which reads "inf"
        ours[f"{name} scores"] = Answer(torch.from_numpy(scores.reshape(truth.shape)), atol=1e-7, rtol=1e-7)
        theirs[f"{name} scores"] = torch.from_numpy(truth)
        ours[f"{name} accepted"] = Answer([rule.keeps(pair) for pair in pairs])
        theirs[f"{name} accepted"] = applied["accepted"]
    return ours, theirs


def rule_of(name: str, options: dict[str, Any]) -> WordCount | LengthRatio | Scripts | Sidewise | Joint:
    if name == "LengthFilter" and options:
        return WordCount((options["min_length"],) * 2, tuple(options["max_length"]), tuple(options["unit"]))
    if name == "LengthRatioFilter" and options:
        return LengthRatio(options["threshold"], options["unit"])
    if name == "CharacterScoreFilter":
        return Scripts(tuple(options["scripts"]), tuple(options["thresholds"]))
    assert not options, name
    return DEFAULTS[name]


DEFAULTS = {
    "LengthFilter": WordCount(),
    "LengthRatioFilter": LengthRatio(),
    "LongWordFilter": long_word(),
    "AverageWordLengthFilter": word_length(),
    "AlphabetRatioFilter": letters(),
    "HtmlTagFilter": no_tags(),
    "TerminalPunctuationFilter": punctuation(),
    "NonZeroNumeralsFilter": numerals(),
    "LongestCommonSubstringFilter": substring(),
    "SimilarityFilter": similarity(),
    "RepetitionFilter": repetition(),
}
CASES = {"po": po, "tmx": tmx, "filters": filters}
"""What each golden case compares."""
