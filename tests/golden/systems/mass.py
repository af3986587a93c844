"""MASS against its released code: the step of pretraining. Released tensors lie [rows, sequences]."""

import torch

import mm_kptm
from mm_kptm.batch import Inputs
from mm_kptm.crosslingual.objectives.masked_spans import MaskedSpanGeneration, columns_of, masked_span_batch
from tests.golden.case import Answer, Case
from tests.golden.systems.xlm import behind, laid, lengths_of, upright


def step(case: Case) -> dict[str, Answer]:
    given, mask_id = case.inputs, case.config["mask_index"]
    system = mm_kptm.load("mass", case.folder)
    lengths = given["lengths"]
    languages = torch.full_like(given["x_before"], int(given["lang"]))
    clean = upright(given["x_before"], lengths, languages=languages)
    shown = upright(given["x1"], lengths, languages=languages)
    hidden = columns_of(clean.layout, (given["positions"].T + 1).tolist())
    batch = masked_span_batch(Inputs(text=clean), hidden, shown.ids)
    target, count = batch.inputs.target, len(given["x2"])
    assert target is not None
    for name, rows in {"x2": target.ids, "positions": target.positions}.items():
        assert torch.equal(laid(rows, target.layout, count), given[name]), name
    assert torch.equal(laid(batch.labels, target.layout, count).flatten(), given["y"])
    objective = MaskedSpanGeneration(mask_id=mask_id, vocab_size=case.config["n_words"])
    states = system(batch.inputs)["target"]
    scores = laid(system.head("next-tokens")(states), target.layout, count)
    source, real = system.encoder.read(batch.inputs), behind(clean.layout, len(given["x1"]))
    seen = source.attention.mask.mask_mod(torch.zeros(1, dtype=torch.long), torch.arange(clean.rows))
    return {
        "enc_hidden": Answer(source.x, real),
        "enc_mask": Answer(seen, real),
        "dec_hidden": Answer(laid(states, target.layout, count)),
        "scores": Answer(scores.flatten(0, 1)),
        "loss": Answer(objective.loss(system, batch)),
        "pred_mask": Answer(torch.arange(count)[:, None] < lengths_of(target.layout)),
    }


CASES = {"unsup-step": step, "english-only": step}
"""What each system is asked in its golden cases."""
