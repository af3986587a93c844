"""Scores and filtered ranks against pykeen's, with tables that make ties."""

import torch
from torch import Tensor

from mm_kptm.knowledge.embedding.ranking import Ranks, measures, rank
from mm_kptm.knowledge.embedding.scoring import ComplEx, DistMult, RotatE, TransE
from tests.golden.case import Answer, Case


def _transe(norm: int):
    return lambda entities, relations: TransE(entities, relations, norm=norm)


def _complex(score):
    return lambda entities, relations: score(torch.view_as_complex(entities), torch.view_as_complex(relations))


SCORES = {
    "transe_l1": _transe(1),
    "transe_l2": _transe(2),
    "distmult": DistMult,
    "complex": _complex(ComplEx),
    "rotate": _complex(RotatE),
}
MEASURES = {
    "inverse_harmonic_mean_rank": "mrr",
    "hits_at_1": "hits@1",
    "hits_at_3": "hits@3",
    "hits_at_10": "hits@10",
    "arithmetic_mean_rank": "mean_rank",
}


def _as(ranks: Ranks, chosen: Tensor) -> Ranks:
    return Ranks(chosen, chosen, ranks.candidates)


def ranking(case: Case) -> dict[str, Answer]:
    given = case.inputs
    test = given["test"]
    known = torch.cat([given[split] for split in ("train", "valid", "test")])
    heads, relations, tails = test.T
    answers = {}
    for name in case.config["models"]:
        scorer = SCORES[name](given[f"{name}.entity"], given[f"{name}.relation"])
        ranks = rank(scorer, test, known)
        answers |= {
            f"{name}.score_hrt": scorer.triples(heads, relations, tails)[:, None],
            f"{name}.score_t": scorer.tails(heads, relations),
            f"{name}.score_h": scorer.heads(relations, tails),
        }
        for side, found in (("head", ranks.heads), ("tail", ranks.tails)):
            answers[f"{name}.num_candidates.{side}"] = found.candidates
            for kind in ("optimistic", "realistic", "pessimistic"):
                answers[f"{name}.rank.{side}.{kind}"] = getattr(found, kind)
        both = ranks.both
        for kind in ("optimistic", "realistic", "pessimistic"):
            found = measures(_as(both, getattr(both, kind)))
            for theirs, ours in MEASURES.items():
                answers[f"{name}.metric.both.{kind}.{theirs}"] = torch.tensor(found[ours])
        index = measures(both)["adjusted_mean_rank_index"]
        answers[f"{name}.metric.both.realistic.adjusted_arithmetic_mean_rank_index"] = torch.tensor(index)
    return {name: Answer(value) for name, value in answers.items()}


CASES = {"ranking": ranking}
