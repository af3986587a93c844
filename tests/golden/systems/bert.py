"""BERT against Hugging Face's BertForPreTraining."""

import torch
import torch.nn.functional as F

import mm_kptm
from mm_kptm.batch import Inputs, OutputRows, Tokens
from mm_kptm.objectives.pairs import pair_loss
from mm_kptm.objectives.tokens import token_loss
from tests.golden.case import Answer, Case


def pretraining(case: Case) -> dict[str, Answer]:
    given = case.inputs
    system = mm_kptm.load("bert", case.folder)
    real = given["attention_mask"].bool()
    text = Tokens.padded(given["input_ids"], real, segments=given["token_type_ids"])
    inputs = Inputs(text=text)
    encoded = system(inputs)
    labels = given["labels"][real]
    predicted = (labels != -100).nonzero().squeeze(1)
    masked = system(inputs, OutputRows({"text": predicted}))
    scores, classes = system.head("masked-tokens"), system.head("next-sentence")
    mlm = token_loss(scores(masked.text), labels[predicted])
    nsp = pair_loss(classes(masked.pooled), given["next_sentence_label"])
    depths = list(system.hidden_states(inputs))
    maps = system.encoder.layers[0].self_attention.attention.weights(depths[0].x, depths[0].x, depths[0].attention)
    length = real.shape[1]
    attention = torch.stack([F.pad(share, (0, length - share.shape[2], 0, length - share.shape[1])) for share in maps])
    seen = (real[:, None, :, None] & real[:, None, None, :]).expand_as(attention)
    return {
        "last_hidden_state": Answer(encoded.text, real),
        "pooler_output": Answer(encoded.pooled),
        "prediction_logits": Answer(scores(encoded.text), real),
        "seq_relationship_logits": Answer(classes(encoded.pooled)),
        "mlm_loss": Answer(mlm),
        "nsp_loss": Answer(nsp),
        "loss": Answer(mlm + nsp),
        **{f"hidden_{depth}": Answer(stream.x, real) for depth, stream in enumerate(depths)},
        "attention_0": Answer(attention[seen], seen),
    }


CASES = {"pretraining": pretraining, "legacy-names": pretraining}
