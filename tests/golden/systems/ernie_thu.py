"""ERNIE of Tsinghua against its released code: the model with all its heads, annotations and pretraining instances."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

import mm_kptm
from mm_kptm.batch import Entities, Inputs, Tokens
from mm_kptm.knowledge.denoising import Denoising, EntityDenoising
from mm_kptm.knowledge.fusion import FusedLayer, FusedState
from mm_kptm.models.system import System
from mm_kptm.objectives.pairs import pair_loss
from mm_kptm.objectives.tokens import token_loss
from tests.golden.case import Answer, Case


def loaded(case: Case) -> System:
    """The pretrained model with both fine-tuned heads in one file."""
    tensors = {
        name: tensor for file in sorted(case.folder.glob("weights*")) for name, tensor in load_file(file).items()
    }
    sizes = {
        "entity-typing": {"num_classes": len(tensors["typing.weight"])},
        "relation": {"num_classes": len(tensors["classifier.weight"])},
    }
    heads: dict[str, dict[str, int]] = {"masked-tokens": {}, "next-sentence": {}, "entity-denoising": {}, **sizes}
    with tempfile.TemporaryDirectory() as folder:
        save_file(tensors, Path(folder) / "model.safetensors")
        (Path(folder) / "config.json").write_text(json.dumps(case.config), encoding="utf-8")
        return mm_kptm.load("ernie_thu", folder, heads=heads)


def pretrain(case: Case) -> dict[str, Answer]:
    given, system = case.inputs, loaded(case)
    real = given["attention_mask"].bool()
    text = Tokens.padded(given["input_ids"], real, segments=given["token_type_ids"])
    entities = Entities(
        vectors=given["input_ent"][real], linked=given["ent_mask"][real] > 0, ids=given["entity_ids_noised"][real]
    )
    inputs = Inputs(text=text, entities=entities)
    encoded, depths = system(inputs), list(system.walk(inputs))

    words, classes = system.head("masked-tokens"), system.head("next-sentence")
    hidden, labels = encoded.tokens, given["masked_lm_labels"][real]
    mlm = token_loss(words(hidden[labels >= 0]), labels[labels >= 0])
    nsp = pair_loss(classes(encoded.pooled), given["next_sentence_label"].flatten())

    candidates, aims = given["candidate"], given["ent_labels"][real]
    rows = (aims >= 0).nonzero().squeeze(1)
    owners = text.layout.owners(rows.device)[rows]
    dea = EntityDenoising().loss(system, Denoising(inputs, candidates, rows, aims[rows], owners))

    typed, related = system.head("entity-typing")(encoded.pooled), system.head("relation")(encoded.pooled)
    plain = system(replace(inputs, entities=None))
    return {
        "embedding_output": Answer(depths[0].x, real),
        **{f"hidden_states.{number}": Answer(state.x, real) for number, state in enumerate(depths[1:])},
        **{
            f"entity_states.{number}": Answer(on_the_grid(system, number, depths, entities.vectors), real)
            for number in range(len(depths) - 1)
        },
        "pooled_output": Answer(encoded.pooled),
        "mlm_logits": Answer(words(hidden), real),
        "nsp_logits": Answer(classes(encoded.pooled)),
        "dea_logits": Answer(system.head("entity-denoising")(hidden, candidates), real),
        "mlm_loss": Answer(mlm),
        "nsp_loss": Answer(nsp),
        "dea_loss": Answer(dea),
        "total_loss": Answer(mlm + nsp + dea),
        "original_loss": Answer(mlm + nsp),
        "typing_logits": Answer(typed),
        "typing_loss": Answer(F.binary_cross_entropy_with_logits(typed, given["typing_labels"])),
        "relation_logits": Answer(related),
        "relation_loss": Answer(F.cross_entropy(related, given["relation_labels"])),
        "no_entity.mlm_logits": Answer(words(plain.tokens), real),
    }


def on_the_grid(system: System, number: int, depths: list[FusedState], vectors: Tensor) -> Tensor:
    """The entities after a layer at every token.

    We carry linked ones only. At the others the released code holds what no layer reads: the vectors that came in,
    until a fused layer leaves its mixture with no entity there.
    """
    fused = [layer for layer in range(number + 1) if str(layer) in system.encoder.fusions]
    if not fused:
        grid = vectors.clone()
    else:
        layer = system.encoder.fusions[str(fused[-1])]
        assert isinstance(layer, FusedLayer)
        before, linked = depths[fused[-1]], depths[fused[-1]].linked
        x = layer.layer.attend(before.x, before.reading)
        entities = linked.x if layer.attend is None else layer.attend(linked.x, linked.reading)
        grid = layer.fuse.entities(torch.zeros_like(vectors), layer.fuse.mix(x, entities, linked.rows))
    after = depths[number + 1].linked
    return grid.index_copy(0, after.rows, after.x)


CASES = {"pretrain_tiny": pretrain}
