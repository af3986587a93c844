"""SigLIP: two towers under a sigmoid loss, which needs no softmax over the batch."""

from __future__ import annotations

from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.text_format import TextFormat
from mm_kptm.vision.contrastive.preparation import HALF
from mm_kptm.vision.recipes.contrastive.clip import CLIP_VIT_B_32

SIGLIP_B_16 = Recipe(
    **{
        **vars(CLIP_VIT_B_32),
        "name": "siglip-b-16",
        "family": "siglip",
        "paper": "Zhai et al. 2023, Sigmoid Loss for Language Image Pre-Training, ICCV, arXiv:2303.15343",
        "text": TextFormat(tokenizer="siglip"),
        "model_types": ("siglip",),
        "sizes": {
            "architecture": "ViT-B-16-SigLIP",
            "image_mean": HALF,
            "image_std": HALF,
            "resize_mode": "squash",
        },
        "notes": (
            "names are open_clip's, whose image tower is timm's, or Hugging Face's SiglipModel's",
            "Hugging Face's configuration has the approximate GELU of the released code, open_clip's the exact one",
            "texts are filled up with padding to the length of training, which the text tower reads like words",
            "of texts, _ becomes a blank and other punctuation nothing, as in the released code; Hugging Face drops _",
            "the loss of a process takes the texts of one other process at a time",
        ),
    }
)
