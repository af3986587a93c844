"""T5 of both versions: states of both stacks, attention, the bias by distance, and the loss."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.nn.ragged import cross_attention_layout, self_attention_layout
from mm_kptm.nn.relative import RelativeBias
from mm_kptm.objectives.span_corruption import corrupted, noise_counts, noise_mask, raw_lengths
from tests.golden.case import Answer, Case

IGNORED, LONGEST = -100, 200


def model(case: Case) -> dict[str, Answer]:
    given, settings = case.inputs, case.config
    system = mm_kptm.load("t5", case.folder)
    real, told = given["attention_mask"].bool(), given["labels"] != IGNORED
    labels = given["labels"].where(told, settings["pad_token_id"])
    start = torch.full_like(labels[:, :1], settings["decoder_start_token_id"])
    ids = torch.cat([start, labels[:, :-1]], 1)
    inputs = Inputs(text=Tokens.padded(given["input_ids"], real), target=Tokens.padded(ids, torch.ones_like(ids)))
    states = list(system.encoder.source.hidden_states(inputs))
    source, target = states[-1], system(inputs)["target"]
    logits = system.head("next-tokens")(target)
    ahead, back = (
        stack.layers[0].self_attention.attention.bias for stack in (system.encoder.source, system.encoder.target)
    )
    published = [RelativeBias(1, bidirectional=bidirectional) for bidirectional in (True, False)]
    near, far = (
        torch.arange(-reach, reach + 1) for reach in (2 * settings["relative_attention_max_distance"], LONGEST)
    )
    places = torch.arange(6)
    answers = {
        "encoder_hidden": Answer(source.x, real),
        "decoder_ids": Answer(ids),
        "decoder_hidden": Answer(target.unflatten(0, ids.shape)),
        "logits": Answer(logits.unflatten(0, ids.shape)),
        "loss": Answer(F.cross_entropy(logits, given["labels"].flatten(), ignore_index=IGNORED)),
        "buckets_bidirectional": Answer(ahead.buckets(near)),
        "buckets_causal": Answer(back.buckets(near)),
        "buckets_bidirectional_32_128": Answer(published[0].buckets(far)),
        "buckets_causal_32_128": Answer(published[1].buckets(far)),
        "bias_6": Answer(ahead((places - places[:, None])[None])),
        **attention(case, inputs, states[0].x, source.x),
        **{f"encoder_{depth}": Answer(stream.x, real) for depth, stream in enumerate(states[:-1])},
    }
    return {name: answer for name, answer in answers.items() if name in case.outputs}


def attention(case: Case, inputs: Inputs, embedded: torch.Tensor, source: torch.Tensor) -> dict[str, Answer]:
    """Weights of the first layers, with zeros where padding is read; rows of padding are left out."""
    system = mm_kptm.load("t5", case.folder)
    first, layer = system.encoder.source.layers[0].self_attention, system.encoder.target.layers[0]
    text, target = inputs.text, inputs.target
    normed = first.norm(embedded)
    own = first.attention.weights(normed, normed, self_attention_layout(text.layout))
    x = system.encoder.target.embed(target)
    causal = next(system.encoder.target.hidden_states(target, system.encoder.read(inputs))).attention
    asked = layer.cross_attention.norm(layer.self_attention(x, causal))
    other = layer.cross_attention.attention.weights(asked, source, cross_attention_layout(target.layout, text.layout))
    real = case.inputs["attention_mask"].bool()
    found = {"encoder_attention_0": own, "cross_attention_0": other}
    answers = {}
    for name, weights in found.items():
        table = torch.zeros_like(case.outputs[name])
        for number, one in enumerate(weights):
            table[number, :, : one.shape[1], : one.shape[2]] = one
        rows = real[:, None, :, None] if name == "encoder_attention_0" else torch.ones(1, 1, 1, 1, dtype=torch.bool)
        where = (rows & real[:, None, None]).expand_as(table)
        answers[name] = Answer(table[where], where)
    return answers


def span_corruption(case: Case) -> tuple[dict[str, Answer], dict[str, Any]]:
    answers, truths = {}, {}
    for number, official in enumerate(case.json("cases.json")):
        settings = {"density": official["noise_density"], "mean_length": official["mean_span"]}
        sentinels = range(official["vocab_size"] - 1, -1, -1)
        noise = np.array(official["mask"], bool)
        drawn = noise_mask(official["length"], np.random.RandomState(0), **settings)
        ours = {
            "counts": noise_counts(official["length"], **settings),
            "drawn": (int(drawn.sum()), int((np.diff(drawn.astype(int)) > 0).sum()), bool(drawn[0]), bool(drawn[-1])),
            "both": corrupted(official["tokens"], noise, sentinels),
        }
        theirs = {
            "counts": (official["noise_tokens"], official["noise_spans"]),
            "drawn": (official["noise_tokens"], official["noise_spans"], False, True),
            "both": (official["inputs"], official["targets"]),
        }
        answers |= {f"{number} {name}": Answer(value) for name, value in ours.items()}
        truths |= {f"{number} {name}": value for name, value in theirs.items()}
    for number, official in enumerate(case.json("helper.json")):
        settings = {"density": official["noise_density"], "mean_length": official["mean_span"]}
        answers[f"{number} raw lengths"] = Answer(list(raw_lengths(official["inputs_length"], **settings)))
        truths[f"{number} raw lengths"] = official["result"]
    return answers, truths


CASES = {"v1": model, "v1_1": model, "span_corruption": span_corruption}
"""What each golden case compares."""
