"""ALIGN against Hugging Face's class."""

from __future__ import annotations

import torch.nn.functional as F

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.vision.contrastive.losses.info_nce import contrast_losses
from tests.golden.case import Answer, Case


def towers(case: Case) -> dict[str, Answer]:
    given, system = case.inputs, mm_kptm.load("align", case.folder)
    tower, real = system.encoder, given["attention_mask"].bool()
    inputs, pixels = Inputs(text=Tokens.padded(given["input_ids"], real)), given["pixel_values"]
    images, texts = tower.embed_images(pixels), tower.embed_text(inputs)
    losses = contrast_losses(images, texts, tower.similarity.scale(), label_smoothing=0.1)
    return {
        "image_embeds": Answer(F.normalize(images, dim=-1)),
        "text_embeds": Answer(F.normalize(texts, dim=-1)),
        "logits_per_image": Answer(tower.scores(images, texts)),
        "loss": Answer(losses.mean()),
        "text_last_hidden_state": Answer(system(inputs).text, real),
        "vision_pooler_output": Answer(images),
        "vision_last_hidden_state": Answer(tower.image.feature_map(pixels)),
    }


CASES = {"tiny": towers}
