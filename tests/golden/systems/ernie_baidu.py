"""ERNIE of Baidu against its released masking, and against Hugging Face's ErnieForPreTraining."""

from typing import Any

import torch

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.data.masking.units import closed
from mm_kptm.knowledge.objectives.knowledge_masking import LabelledText, one_draw_each, tokens_in_units
from mm_kptm.objectives.pairs import pair_loss
from mm_kptm.objectives.tokens import Masking, token_loss
from tests.golden.case import Answer, Case

MASK, FIRST = 3, 1  # what hides a token, and the first token that may stand instead


def model(case: Case) -> dict[str, Answer]:
    given, system = case.inputs, mm_kptm.load("ernie_baidu", case.folder)
    real = given["attention_mask"].bool()
    inputs = Inputs(text=Tokens.padded(given["input_ids"], real, segments=given["token_type_ids"]))
    encoded, depths = system(inputs), list(system.hidden_states(inputs))
    words, classes = system.head("masked-tokens"), system.head("next-sentence")
    labels = given["labels"][real]
    mlm = token_loss(words(encoded.text[labels >= 0]), labels[labels >= 0])
    nsp = pair_loss(classes(encoded.pooled), given["next_sentence_label"])
    return {
        **{f"hidden_states.{number}": Answer(state.x, real) for number, state in enumerate(depths)},
        "pooled_output": Answer(encoded.pooled),
        "mlm_logits": Answer(words(encoded.text), real),
        "nsp_logits": Answer(classes(encoded.pooled)),
        "total_loss": Answer(mlm + nsp),
    }


def masking(case: Case) -> tuple[dict[str, Answer], dict[str, Any]]:
    """From the numbers that the released code drew, the same masks; its positions are those of padded texts."""
    answers: dict[str, Answer] = {}
    truths: dict[str, Any] = {}
    high = int(case.called_with("vocabulary size"))
    rule = Masking(mask_id=MASK, pool=(FIRST, high), never=frozenset())
    for number, told in enumerate(case.json("masking.json")):
        texts = [
            LabelledText(tuple(ids), (0,) * len(ids), tuple(range(len(ids))), tuple(labels), follows=True)
            for ids, labels in zip(told["tokens"], told["seg_labels"], strict=True)
        ]
        tokens = tokens_in_units(texts, [bool(tag) for tag in told["mask_word_tags"]], units=closed)
        assert tokens.mask_groups is not None
        uniform = torch.tensor(told["uniform"], dtype=torch.double)
        instead = (torch.tensor(told["replacement"], dtype=torch.double) - FIRST + 0.5) / (high - FIRST)
        draws = one_draw_each(uniform, instead, tokens.mask_groups)
        hidden, rows = rule.mask(tokens, torch.Generator(), draws=draws)
        layout, max_length = tokens.layout, max(tokens.layout.lengths)
        places = layout.sequence_ids(rows.device) * max_length + layout.offsets_in_sequence(rows.device)
        ours = {
            "masked": [ids.tolist() for ids in layout.split(hidden.ids)],
            "mask_label": tokens.ids[rows].tolist(),
            "mask_pos": places[rows].tolist(),
        }
        for name, answer in ours.items():
            answers[f"{number} {name}"], truths[f"{number} {name}"] = Answer(answer), told[name]
    return answers, truths


CASES = {"model_tiny": model, "masking": masking}
