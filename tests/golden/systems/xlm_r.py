"""XLM-R against fairseq, with separate and with packed projections, and against Hugging Face."""

import torch.nn.functional as F
from torch import Tensor

import mm_kptm
from mm_kptm.batch import POOLED_ONLY, Inputs, OutputRows, Tokens
from mm_kptm.nn.positions import counted_positions
from mm_kptm.systems.system import System
from tests.golden.case import Answer, Case

PAD = 1


def counted(ids: Tensor, real: Tensor | None = None, *, pad: int = PAD) -> Inputs:
    """Padded ids, whose padding may stand anywhere, with positions counted over real tokens."""
    real = ids != pad if real is None else real.bool()
    return Inputs(text=Tokens.padded(ids, real, positions=counted_positions(ids, pad)))


def summed_loss(system: System, ids: Tensor, target: Tensor, *, pad: int = PAD) -> tuple[Tensor, Tensor]:
    """Scores of the predicted tokens and their summed loss, in nats."""
    inputs, real = counted(ids, pad=pad), ids != pad
    rows = (target[real] != pad).nonzero().squeeze(1)
    scores = system.head("masked-tokens")(system(inputs, OutputRows({"text": rows})).text)
    return scores, F.cross_entropy(scores, target[real][rows], reduction="sum")


def fairseq(case: Case) -> dict[str, Answer]:
    given = case.inputs
    kinds = {"num_classes": case.outputs["cls_logits"].shape[1]}
    system = mm_kptm.load("xlm-r", case.folder, heads={"masked-tokens": {}, "classifier": kinds})
    ids = given["src_tokens"]
    real, inputs = ids != PAD, counted(ids)
    masked, loss = summed_loss(system, ids, given["target"])
    _, tlm_loss = summed_loss(system, given["tlm_src_tokens"], given["tlm_target"])
    offset = system.encoder.embed.text.position_offset
    return {
        **{f"inner_{depth}": Answer(stream.x, real) for depth, stream in enumerate(system.hidden_states(inputs))},
        "logits": Answer(system.head("masked-tokens")(system(inputs).text), real),
        "masked_logits": Answer(masked),
        "mlm_loss_sum": Answer(loss),
        "tlm_loss_sum": Answer(tlm_loss),
        "tlm_features": Answer(system(counted(given["tlm_src_tokens"])).text, given["tlm_src_tokens"] != PAD),
        "cls_logits": Answer(system.head("classifier")(system(inputs, POOLED_ONLY).pooled)),
        "positions": Answer(counted_positions(ids, PAD) + offset),
    }


def hugging_face(case: Case) -> dict[str, Answer]:
    given = case.inputs
    system = mm_kptm.load("xlm-r", case.folder)
    real = given["attention_mask"].bool()
    inputs = counted(given["input_ids"], real, pad=case.config["pad_token_id"])
    logits = system.head("masked-tokens")(system(inputs).text)
    return {
        "logits": Answer(logits, real),
        "loss": Answer(F.cross_entropy(logits, given["labels"][real])),
        **{f"hidden_{depth}": Answer(stream.x, real) for depth, stream in enumerate(system.hidden_states(inputs))},
    }


CASES = {"fairseq": fairseq, "fairseq-inproj": fairseq, "hf": hugging_face}
