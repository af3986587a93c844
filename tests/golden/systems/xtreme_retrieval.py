"""BUCC mining and Tatoeba retrieval of XTREME from embeddings."""

from typing import Any

import torch

from mm_kptm.crosslingual.alignment.margin_mining import mine, nearest
from mm_kptm.tasks.metrics.mined_pairs import MinedPair, best_threshold, extracted, pair_scores
from tests.golden.case import Answer, Case


def mining(case: Case) -> dict[str, Answer]:
    source, target, gold = (case.inputs[name] for name in ("x", "y", "gold"))
    first, second = case.inputs["duplicate"].tolist()
    unified = source.clone()
    unified[first] = source[second]  # one row per text: place of the first, vector of the last
    rows = torch.tensor([row for row in range(len(source)) if row != second])
    answers: dict[str, Answer] = {}
    settings: dict[str, Any] = {"k": case.config["neighborhood"], "min_score": case.config["mine_threshold"]}
    for margin in ("ratio", "distance", "absolute"):
        mined = mine(unified[rows], target, margin=margin, **settings)
        pairs = torch.stack([rows[mined.pairs[:, 0]], mined.pairs[:, 1]], 1)
        answers[f"mined_{margin}"], answers[f"mined_score_{margin}"] = Answer(pairs), Answer(mined.scores)
        if margin == "ratio":
            candidates = [
                MinedPair(str(row), str(column), score)
                for (row, column), score in zip(pairs.tolist(), mined.scores.tolist(), strict=True)
                if row not in (first, second)  # the evaluation drops sentences that occur twice
            ]
    true = {(str(row), str(column)) for row, column in gold.tolist()}
    threshold = best_threshold(candidates, true)
    kept = extracted(candidates, threshold)
    scores = pair_scores(kept, true)
    return {
        **answers,
        "threshold": Answer(torch.tensor(threshold)),
        "prf": Answer(torch.tensor([scores["precision"], scores["recall"], scores["f1"]])),
        "extracted": Answer(torch.tensor(sorted((int(row), int(column)) for row, column in kept))),
        "tatoeba_prediction": Answer(nearest(target, source)),
    }


CASES = {"mining": mining}
"""What each golden case compares."""
