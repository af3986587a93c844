"""Dual BERT against its released graph, padding taking part as it does there."""

from torch import Tensor

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.crosslingual.objectives.answer_agreement import agreement, answer_vector, edge_loss, masked_scores
from mm_kptm.nn.visibility import Open
from tests.golden.case import Answer, Case


def span(case: Case) -> dict[str, Answer]:
    given = case.inputs
    system = mm_kptm.load("dual-bert", case.folder)
    text, other = (padded(given, side) for side in ("target", "source"))
    inputs = Inputs(text=text, target=other)
    encoded = system(inputs)
    shape = given["target_input_ids"].shape
    edges = {
        "target": system.head("answer-spans")(encoded.text).view(*shape, 2),
        "source": system.head("translated-spans")(encoded["target"]).view(*shape, 2),
    }
    states = {"target": system.encoder.translated(inputs), "source": encoded["target"]}
    answers: dict[str, Answer] = {"fused": Answer(encoded.text.view(*shape, -1))}
    losses, vectors = {}, {}
    for side in ("target", "source"):
        allowed = given[f"{side}_input_span_mask"].bool()
        for edge, scores in zip(("start", "end"), edges[side].unbind(-1), strict=True):
            answers[f"{side}_{edge}_logits"] = Answer(masked_scores(scores, allowed))
            losses[side, edge] = edge_loss(scores, allowed, given[f"{side}_{edge}"])
        inside = given[f"{side}_output_span_mask"].bool()
        ends = given[f"{side}_start"], given[f"{side}_end"]
        vectors[side] = answer_vector(states[side].view(*shape, -1), inside, *ends)
        answers[f"{side}_span_vector"] = Answer(vectors[side])
    weight = agreement(vectors["target"], vectors["source"])
    main = (losses["target", "start"] + losses["target", "end"]) / 2
    second = weight.relu() * (losses["source", "start"] + losses["source", "end"]) / 2
    return {
        **answers,
        "main_loss": Answer(main),
        "lambda": Answer(weight),
        "source_start_loss": Answer(losses["source", "start"]),
        "source_end_loss": Answer(losses["source", "end"]),
        "aux_loss": Answer(second),
        "loss": Answer(main + second),
    }


def padded(given: dict[str, Tensor], side: str) -> Tokens:
    """A text whose padding is kept as rows that nobody sees."""
    ids, real = given[f"{side}_input_ids"], given[f"{side}_input_mask"].bool()
    seen = Open(real.flatten())
    return Tokens.padded(ids, real | ~real, segments=given[f"{side}_segment_ids"], attention_mask=seen)


CASES = {"span": span}
"""What each system is asked in its golden cases."""
