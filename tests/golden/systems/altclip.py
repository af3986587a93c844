"""AltCLIP against Hugging Face's class."""

from __future__ import annotations

import torch.nn.functional as F

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.nn.positions import counted_positions
from mm_kptm.vision.contrastive.losses.info_nce import contrast_losses
from tests.golden.case import Answer, Case


def towers(case: Case) -> dict[str, Answer]:
    given, system = case.inputs, mm_kptm.load("altclip", case.folder)
    tower, ids, pixels = system.encoder, given["input_ids"], given["pixel_values"]
    positions = counted_positions(ids, case.config["text_config"]["pad_token_id"])
    inputs = Inputs(text=Tokens.padded(ids, given["attention_mask"], positions=positions))
    images, texts = tower.embed_images(pixels), tower.embed_text(inputs)
    return {
        "image_embeds": Answer(F.normalize(images, dim=-1)),
        "text_embeds": Answer(F.normalize(texts, dim=-1)),
        "logits_per_image": Answer(tower.scores(images, texts)),
        "loss": Answer(contrast_losses(images, texts, tower.similarity.scale()).mean()),
        "text_pooler_output": Answer(tower.text.projection[:2](tower.text.pooled(inputs))),
        "vision_pooler_output": Answer(tower.image.pooled(pixels)),
    }


CASES = {"tiny": towers}
