"""XNLG's second stage against its released code: noise, both auto-encoding steps, and writing under a vocabulary mask.

Released tensors lie [rows, sequences], padded behind.
"""

import numpy as np
import torch
from torch import Tensor

import mm_kptm
from mm_kptm.batch import Inputs, Tokens, pad
from mm_kptm.crosslingual.objectives.word_noise import WordNoise, denoised
from mm_kptm.models.generation import Writing, beam, greedy
from mm_kptm.models.vocabulary_mask import restricted
from mm_kptm.objectives.next_tokens import NextTokens
from mm_kptm.systems.system import System
from tests.golden.case import Answer, Case
from tests.golden.systems.xlm import behind, laid, lengths_of, standing, upright

START, PAD, UNKNOWN, MASK = 1, 2, 3, 5  # as in every vocabulary of XLM


def stage2(case: Case) -> dict[str, Answer]:
    given, settings = case.inputs, case.config
    system = mm_kptm.load("xnlg", case.folder)
    first, second = 0, 1  # languages of the sources and of the translations
    clean = upright(given["x2"], given["len2"], languages=torch.full_like(given["x2"], first))
    rng = np.random.RandomState(settings["noise_seed"])
    noise = WordNoise(MASK, settings["word_shuffle"], settings["word_dropout"], settings["word_blank"])
    texts = noise.noised([part.tolist() for part in clean.layout.split(clean.ids)], rng)
    drawn = torch.tensor(rng.rand(), dtype=torch.float32)
    translated = upright(given["x2"], given["len2"], languages=torch.full_like(given["x2"], second))
    source = upright(given["x1"], given["len1"], languages=torch.full_like(given["x1"], first))
    inputs = {"dae": denoised(clean, texts), "xae": Inputs(text=source, target=translated)}
    answers = {
        "noised": Answer(table(inputs["dae"].text)),
        "noised_lengths": Answer(lengths_of(inputs["dae"].text.layout)),
        "next_numpy_uniform": Answer(drawn),
    }
    for name, one in inputs.items():
        answers |= step(system, name, one, len(given["x2"]))
    allowed = given["vocab_mask"].bool().clone()
    allowed[[START, UNKNOWN]] = True
    target_language = int(case.config.get("target_language", second))
    writing = Writing(START, START, settings["max_len"], language=target_language)
    for name, writer in {"all": system, "masked": restricted(system, allowed)}.items():
        width, penalty = settings["beam_size"], settings["length_penalty"]
        found = {
            "greedy": greedy(writer, Inputs(text=source), writing),
            "beam": beam(writer, Inputs(text=source), writing, width=width, length_penalty=penalty),
        }
        for way, written in found.items():
            length = case.outputs[f"{way}_{name}"].shape[0]
            answers[f"{way}_{name}"] = Answer(table(Tokens.of(written), length))
            answers[f"{way}_{name}_len"] = Answer(torch.tensor([len(text) for text in written]))
    return answers


def step(system: System, name: str, inputs: Inputs, length: int) -> dict[str, Answer]:
    system.zero_grad()
    objective = NextTokens()
    batch = objective.prepare(inputs)
    with torch.enable_grad():
        loss = objective.loss(system, batch)
        loss.backward()
    states = system(inputs)["target"]
    asked = torch.zeros(len(states), dtype=torch.bool)
    asked[batch.rows] = True
    layout = inputs.target.layout
    scores = laid(system.head("next-tokens")(states), layout, length)[laid(asked, layout, length)]
    return {
        f"{name}_encoder": Answer(system(Inputs(text=inputs.text)).text, behind(inputs.text.layout)),
        f"{name}_decoder": Answer(*standing(states, layout, length=length)),
        f"{name}_scores": Answer(scores),
        f"{name}_loss": Answer(loss.detach()),
        f"{name}_grad_lang_dec": Answer(system.encoder.target.embed.language.weight.grad.clone()),
        f"{name}_grad_enc_out": Answer(
            system.encoder.source.layers[0].self_attention.attention.out_proj.weight.grad.clone()
        ),
    }


def table(tokens: Tokens, length: int | None = None) -> Tensor:
    return pad(tokens.ids, tokens.layout, value=PAD, length=length).T


CASES = {"stage2": stage2}
"""What each system is asked in its golden cases."""
