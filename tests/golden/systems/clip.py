"""CLIP in its forms: names of open_clip and Hugging Face, transformers and ResNet, sigmoid loss, XLM-R for texts."""

from __future__ import annotations

import torch
from torch import Tensor

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.systems.system import System
from mm_kptm.vision.contrastive.losses.info_nce import contrast_losses
from mm_kptm.vision.contrastive.losses.sigmoid import sigmoid_losses
from mm_kptm.vision.contrastive.text_towers import largest_row
from tests.golden.case import Answer, Case
from tests.vision.contrastive.processes import gathered_losses


def read_until_end(text: Tensor) -> Tensor:
    """True up to and with the first of the largest ids; what stands behind is never read."""
    return torch.arange(text.shape[1]) <= text.argmax(1, keepdim=True)


def towers(case: Case) -> dict[str, Answer]:
    given = case.inputs
    system = mm_kptm.load("clip", case.folder)
    tower, text = system.encoder, given["text"]
    everything = case.config["text_cfg"].get("no_causal_mask", False)
    real = torch.ones_like(text, dtype=torch.bool) if everything else read_until_end(text)
    inputs = Inputs(text=Tokens.padded(text, real))
    pixels = given["image"]
    images, texts = tower.embed_images(pixels), tower.embed_text(inputs)
    answers = {
        **features(images, texts),
        "image_features_raw": Answer(images),
        "text_features_raw": Answer(texts),
        "logit_scale": Answer(tower.similarity.scale()),
        "contrastive_loss": Answer(contrast_losses(images, texts, tower.similarity.scale()).mean()),
        "logits_per_image": Answer(tower.scores(images, texts)),
        "text_tokens": Answer(system(inputs).text, real),
    }
    if hasattr(tower.image, "rows"):
        answers["visual_tokens"] = Answer(tower.image.rows(pixels))
    if "text_pool_index" in case.outputs:
        answers["text_pool_index"] = Answer(largest_row(inputs.text) - inputs.text.layout.starts(text.device))
    if everything:
        similarity = tower.similarity
        losses = sigmoid_losses(images, texts, similarity.scale(), similarity.bias)
        answers["siglip_loss"] = Answer(losses.mean())
        answers["logits_per_image"] = Answer(tower.scores(images, texts) - unbiased(case, similarity.bias))
    return {name: answer for name, answer in answers.items() if name in case.outputs}


def unbiased(case: Case, bias: Tensor) -> Tensor:
    """The bias, where the official scores are given without it."""
    theirs = case.outputs["logits_per_image"]
    cosines = case.outputs["image_features"] @ case.outputs["text_features"].T
    plain = torch.allclose(theirs, case.outputs["logit_scale"] * cosines, atol=1e-4)
    return bias if plain else torch.zeros(())


def features(images: Tensor, texts: Tensor) -> dict[str, Answer]:
    sides = {"image_features": images, "text_features": texts}
    return {name: Answer(torch.nn.functional.normalize(side, dim=-1)) for name, side in sides.items()}


def xlmr_text(case: Case) -> dict[str, Answer]:
    given = case.inputs
    system: System = mm_kptm.load("clip", case.folder)
    tower, text = system.encoder, given["text"]
    inputs = Inputs(text=Tokens.padded(text, text != case.config["text_cfg"]["hf_config"]["pad_token_id"]))
    images, texts = tower.embed_images(given["image"]), tower.embed_text(inputs)
    return {
        **features(images, texts),
        "text_features_raw": Answer(texts),
        "contrastive_loss": Answer(contrast_losses(images, texts, tower.similarity.scale()).mean()),
    }


def hugging_face(case: Case) -> dict[str, Answer]:
    given = case.inputs
    system = mm_kptm.load("clip", case.folder)
    tower, real = system.encoder, given["attention_mask"].bool()
    inputs = Inputs(text=Tokens.padded(given["input_ids"], real))
    pixels = given["pixel_values"]
    images, texts = tower.embed_images(pixels), tower.embed_text(inputs)
    named = features(images, texts)
    rows = tower.image.rows(pixels)
    return {
        "image_embeds": named["image_features"],
        "text_embeds": named["text_features"],
        "text_embeds_nomask": named["text_features"],
        "logits_per_image": Answer(tower.scores(images, texts)),
        "loss": Answer(contrast_losses(images, texts, tower.similarity.scale()).mean()),
        "text_last_hidden_state": Answer(system(inputs).text, real),
        "text_pooler_output": pooled(texts, tower.text.pooled(inputs), case.outputs["text_pooler_output"]),
        "vision_last_hidden_state": Answer(rows),
        "vision_pooler_output": pooled(images, tower.image.pooled(pixels), case.outputs["vision_pooler_output"]),
    }


def pooled(projected: Tensor, state: Tensor, theirs: Tensor) -> Answer:
    """transformers' pooled output is the projected state since version 5, and was the state before."""
    return Answer(projected if projected.shape == theirs.shape else state)


def distributed(case: Case) -> dict[str, Answer]:
    """Every mode, by as many processes as the official run had."""
    return {name: Answer(value) for name, value in gathered_losses(case.inputs, case.config).items()}


CASES = {
    "vit-quickgelu": towers,
    "custom-text-gelu": towers,
    "resnet": towers,
    "siglip": towers,
    "xlmr-text": xlmr_text,
    "hf": hugging_face,
    "distributed-loss": distributed,
}
