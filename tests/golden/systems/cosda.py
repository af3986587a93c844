"""CoSDA-ML's switched text, and the number of draws behind it; the truth lies in ``config.json``."""

import random
from typing import Any

from mm_kptm.crosslingual.corpora.code_switching import CodeSwitcher, lowered, spaced
from tests.golden.case import Answer, Case


def switch(case: Case) -> tuple[dict[str, Answer], dict[str, Any]]:
    config = case.config
    ours, theirs = {}, {}
    for run in config["runs"]:
        name = " ".join(str(run[key]) for key in ("variant", "seed", "training") if key in run)
        generator = random.Random(run["seed"])
        two = run["variant"] == "two-dictionaries"
        switcher = CodeSwitcher(
            config["dictionaries"][: 2 if two else None],
            token_rate=config["token_ratio_cross"],
            sentence_rate=config["sentence_ratio"],
            generator=generator,
        )
        switched = [one(switcher, text, run["variant"], run.get("training", True)) for text in config["sentences"]]
        ours[f"{name} output"], theirs[f"{name} output"] = Answer(switched), run["output"]
        if run.get("training", True) or not two:  # there the released code draws dictionaries that it does not use
            ours[f"{name} next"], theirs[f"{name} next"] = Answer(generator.random()), run["next_random"]
    return ours, theirs


def one(switcher: CodeSwitcher, text: str, variant: str, training: bool) -> str | list[str]:
    """Outside training the text is left as it is, save for what the variant does to every text."""
    if variant == "words":
        return switcher.words(text.split(" ")) if training else text.split(" ")
    if not training:
        return spaced(lowered(text))
    return switcher.sentence(text) if variant == "sentence" else switcher.dialogue(text)


CASES = {"switch": switch, "switch-ratio": switch}
"""What each golden case compares."""
