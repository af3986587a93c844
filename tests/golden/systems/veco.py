"""VECO against its released layers: the four predictions of a pair, and the translation model."""

import tempfile
from pathlib import Path

import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.crosslingual.objectives.fairseq_masking import FairseqMasking
from mm_kptm.crosslingual.objectives.language_codes import last_moved_first, written
from mm_kptm.crosslingual.objectives.plugged_attention import MaskedTranslations, PluggedAttention
from mm_kptm.crosslingual.recipes.veco import keep_decoder_layers
from mm_kptm.nn.positions import counted_positions
from mm_kptm.objectives.next_tokens import NextTokens, SmoothedNextTokens
from mm_kptm.systems.system import System
from tests.golden.case import Answer, Case
from tests.golden.systems.mbart import ragged


def pretraining(case: Case) -> dict[str, Answer]:
    given, settings = case.inputs, case.config
    pad = settings["pad"]
    system = mm_kptm.load("veco", case.folder)
    real = given["x"] != pad, given["y"] != pad
    inputs = Inputs(text=counted(given["x"], pad), target=counted(given["y"], pad))
    targets = given["x_target"][real[0]], given["y_target"][real[1]]
    rows = tuple((target != pad).nonzero().squeeze(1) for target in targets)
    labels = tuple(target[hidden] for target, hidden in zip(targets, rows, strict=True))
    objective = PluggedAttention(FairseqMasking(mask_id=settings["mask"], vocab_size=settings["vocab"]))
    losses = objective.losses(system, MaskedTranslations(inputs, (rows[0], rows[1]), (labels[0], labels[1])))
    states = system.encoder.both(inputs)
    return {
        **{f"h_{side}": Answer(states.alone[number], real[number]) for number, side in enumerate("xy")},
        **{f"s_{side}": Answer(states.plugged[number], real[number]) for number, side in enumerate("xy")},
        **{f"loss_{name}": Answer(each.mean()) for name, each in losses.items()},
    }


def translation(case: Case) -> dict[str, Answer]:
    given, settings = case.inputs, case.config
    pad = settings["pad"]
    system = kept(case)
    real, shown = given["src_tokens"] != pad, given["target"] != pad
    source = counted(given["src_tokens"], pad)
    labels = ragged(given["target"], shown)
    read = last_moved_first(labels)
    assert read == ragged(given["prev_output_tokens"], shown)
    batch = NextTokens().prepare(Inputs(text=source, target=written(labels)))
    logits = system.head("next-tokens")(system(Inputs(text=source, target=Tokens.of(read)))["target"])
    smoothed = SmoothedNextTokens(smoothing=settings["label_smoothing"])
    return {
        "encoder_out": Answer(system(Inputs(text=source)).text, real),
        "logits": Answer(logits, shown),
        "loss": Answer(smoothed.losses(system, batch).sum()),
        "nll": Answer(F.cross_entropy(logits, given["target"][shown], reduction="sum")),
    }


def counted(ids: Tensor, pad: int) -> Tokens:
    return Tokens.padded(ids, ids != pad, positions=counted_positions(ids, pad))


def kept(case: Case) -> System:
    """The system with the kept layers of a file that has them all."""
    layers = [int(number) for number in case.config["keep_decoder_layers"].split(",")]
    tensors = keep_decoder_layers(load_file(case.folder / "weights.safetensors"), layers)
    with tempfile.TemporaryDirectory() as folder:
        save_file({name: tensor.clone() for name, tensor in tensors.items()}, Path(folder) / "model.safetensors")
        (Path(folder) / "config.json").write_text((case.folder / "config.json").read_text())
        return mm_kptm.load("veco-nmt", folder)


CASES = {"ca-mlm": pretraining, "translation": translation}
"""What each system is asked in its golden cases."""
