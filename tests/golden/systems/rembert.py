"""RemBERT against Hugging Face's masked-token model."""

import torch.nn.functional as F

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from tests.golden.case import Answer, Case


def masked_tokens(case: Case) -> dict[str, Answer]:
    given = case.inputs
    system = mm_kptm.load("rembert", case.folder)
    real = given["attention_mask"].bool()
    inputs = Inputs(text=Tokens.padded(given["input_ids"], real, segments=given["token_type_ids"]))
    logits = system.head("masked-tokens")(system(inputs).text)
    return {
        "logits": Answer(logits, real),
        "loss": Answer(F.cross_entropy(logits, given["labels"][real])),
        **{f"hidden_{depth}": Answer(stream.x, real) for depth, stream in enumerate(system.hidden_states(inputs))},
    }


CASES = {"mlm": masked_tokens}
