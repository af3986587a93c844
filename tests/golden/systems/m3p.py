"""M3P's code-switched captions, and the number of draws behind them; the truth lies in ``config.json``."""

import random
from typing import Any

import numpy as np
import torch

from mm_kptm.crosslingual.corpora.caption_switching import CaptionSwitcher
from tests.golden.case import Answer, Case


def code_switch(case: Case) -> tuple[dict[str, Answer], dict[str, Any]]:
    config = case.config
    language = config.get("language", next(iter(config["dictionary"])))  # that of the captions
    ours, theirs = {}, {}
    for run in config["runs"]:
        counts = run["positives_negatives"]
        name = f"{run['function']} {counts} {run['seed']}"
        switcher = CaptionSwitcher(
            config["dictionary"][run.get("language", language)],
            sentence_rate=config["sent_ratio"],
            word_rate=config["word_ratio"],
            generator=random.Random(run["seed"]),
            choices=np.random.RandomState(run["seed"]),
        )
        switched = [
            switcher.one_word(text, *counts) if counts else switcher.words(text) for text in config["sentences"]
        ]
        ours[f"{name} output"], theirs[f"{name} output"] = Answer(switched), run["output"]
        drawn = {"next_random": switcher.generator.random(), "next_numpy": switcher.choices.random_sample()}
        for key, value in drawn.items():
            ours[f"{name} {key}"], theirs[f"{name} {key}"] = Answer(torch.tensor(value)), torch.tensor(run[key])
    return ours, theirs


CASES = {"code-switch": code_switch}
"""What each golden case compares."""
