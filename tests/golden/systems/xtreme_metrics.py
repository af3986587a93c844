"""Official scores of XTREME and XGLUE; the truth lies in ``config.json``."""

from functools import partial
from typing import Any

import torch

from mm_kptm.tasks.metrics.chunks import chunk_scores
from mm_kptm.tasks.metrics.discounted_gain import mean_ndcg, ndcg
from mm_kptm.tasks.metrics.mined_pairs import MinedPair, best_threshold, extracted, pair_scores
from mm_kptm.tasks.metrics.spans import mlqa_normalised, span_exact_match, span_f1, span_scores, squad_normalised
from tests.golden.case import Answer, Case

Answers = tuple[dict[str, Answer], dict[str, Any]]


def qa(case: Case) -> Answers:
    ours: dict[str, Answer] = {}
    theirs: dict[str, Any] = {}
    entries = case.config["cases"]
    for number, entry in enumerate(entries):
        rules = {"squad": squad_normalised, "mlqa": partial(mlqa_normalised, language=entry["lang"])}
        for rule, normalise in rules.items():
            if f"{rule}_em" not in entry:
                continue
            prediction, gold = entry["prediction"], entry["gold"]
            ours |= {
                f"{number} {rule}_normalised": Answer(normalise(prediction)),
                f"{number} {rule}_em": number_of(span_exact_match(prediction, gold, normalise)),
                f"{number} {rule}_f1": number_of(span_f1(prediction, gold, normalise)),
            }
            theirs |= {
                f"{number} {rule}_normalised": entry[f"{rule}_normalised"],
                f"{number} {rule}_em": torch.tensor(float(entry[f"{rule}_em"])),
                f"{number} {rule}_f1": torch.tensor(float(entry[f"{rule}_f1"])),
            }
    predictions = {str(number): entry["prediction"] for number, entry in enumerate(entries)}
    gold = {str(number): entry["gold"] for number, entry in enumerate(entries)} | {"unanswered": ["x"]}
    whole = span_scores(predictions, gold)
    for name, score in (("exact_match", whole["exact-match"]), ("f1", whole["f1"])):
        ours[name], theirs[name] = number_of(score), torch.tensor(case.config["squad_set"][name])
    return ours, theirs


def tagging(case: Case) -> Answers:
    ours, theirs = {}, {}
    for number, entry in enumerate(case.config["cases"]):
        for name, score in chunk_scores(entry["prediction"], entry["gold"]).items():
            ours[f"{number} {name}"] = number_of(score)
            theirs[f"{number} {name}"] = torch.tensor(float(entry[name]))
    return ours, theirs


def bucc(case: Case) -> Answers:
    ours: dict[str, Answer] = {}
    theirs: dict[str, Any] = {}
    for number, entry in enumerate(case.config["cases"]):
        candidates = [MinedPair(*candidate) for candidate in entry["candidates"]]
        gold = {(source, target) for source, target in (line.split("\t") for line in entry["gold"])}
        threshold = best_threshold(candidates, gold)
        ours[f"{number} threshold"] = number_of(threshold)
        if "error" in entry:  # the released code fails where the last candidate is the best place to cut
            theirs[f"{number} threshold"] = torch.tensor(candidates[-1].score)
            continue
        pairs = extracted(candidates, threshold)
        ours[f"{number} extracted"] = Answer(["\t".join(pair) for pair in pairs])
        theirs[f"{number} extracted"] = entry["extracted"]
        theirs[f"{number} threshold"] = torch.tensor(float(entry["threshold"]))
        for name, score in pair_scores(pairs, gold).items():
            ours[f"{number} {name}"] = number_of(score)
            theirs[f"{number} {name}"] = torch.tensor(float(entry[name]))
    return ours, theirs


def xglue_ndcg(case: Case) -> Answers:
    ours: dict[str, Answer] = {}
    theirs: dict[str, Any] = {}
    queries = [(query["labels"], query["predictions"]) for query in case.config["queries"]]
    for number, (query, entry) in enumerate(zip(queries, case.config["queries"], strict=True)):
        score = ndcg(*query)
        ours[f"{number}"] = Answer(None) if score is None else number_of(score)
        theirs[f"{number}"] = None if entry["ndcg"] is None else torch.tensor(entry["ndcg"])
    ours["mean"], theirs["mean"] = number_of(mean_ndcg(queries)), torch.tensor(case.config["mean"])
    return ours, theirs


def number_of(score: float) -> Answer:
    return Answer(torch.tensor(score), atol=1e-6, rtol=1e-6)


CASES = {"qa": qa, "tagging": tagging, "bucc": bucc, "xglue-ndcg": xglue_ndcg}
"""What each golden case compares."""
