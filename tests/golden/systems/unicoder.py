"""Unicoder's xDAE: noised items and their batch; the released batch is sorted by the length of its sources."""

import torch

from mm_kptm.batch import Tokens, pad
from mm_kptm.crosslingual.objectives.word_noise import WordNoise, denoised, item_rng
from tests.golden.case import Answer, Case


def xdae(case: Case) -> dict[str, Answer]:
    settings, answers = case.config, {}
    noise = WordNoise(
        settings["mask"], settings["word_shuffle"], settings["word_dropout"], settings["word_blank"], ends=2
    )
    clean = [case.inputs[f"tokens_{number}"].tolist() for number in range(len(case.inputs))]
    for epoch in settings["epochs"]:
        noised = [
            noise.noised([text], item_rng(settings["seed"], epoch, number))[0] for number, text in enumerate(clean)
        ]
        order = sorted(range(len(clean)), key=lambda number: -len(noised[number]))
        inputs = denoised(
            Tokens.of([clean[number] for number in order]), [noised[number] for number in order], without_first=True
        )
        written = pad(inputs.target.ids, inputs.target.layout, value=settings["pad"])
        answers |= {
            **{f"noised_e{epoch}_{number}": Answer(torch.tensor(text)) for number, text in enumerate(noised)},
            f"src_tokens_e{epoch}": Answer(pad(inputs.text.ids, inputs.text.layout, value=settings["pad"])),
            f"src_lengths_e{epoch}": Answer(torch.tensor(inputs.text.layout.lengths)),
            f"prev_output_tokens_e{epoch}": Answer(written[:, :-1]),
            f"target_e{epoch}": Answer(written[:, 1:]),
            f"order_e{epoch}": Answer(torch.tensor(order)),
        }
    return answers


CASES = {"xdae": xdae}
"""What each system is asked in its golden cases."""
