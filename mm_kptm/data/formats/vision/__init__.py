"""Readers of the files of vision-language data sets: GQA, OK-VQA, VizWiz, NLVR2, SNLI-VE, VCR and others."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.data.formats.vision.flickr30k_entities import PhrasedCaption, read_flickr30k_entities
    from mm_kptm.data.formats.vision.gqa import GqaQuestion, read_gqa
    from mm_kptm.data.formats.vision.nlvr2 import PairStatement, read_nlvr2
    from mm_kptm.data.formats.vision.ok_vqa import read_ok_vqa
    from mm_kptm.data.formats.vision.snli_ve import Hypothesis, read_snli_ve
    from mm_kptm.data.formats.vision.vcr import VcrQuestion, read_vcr
    from mm_kptm.data.formats.vision.visual7w import ChoiceQuestion, read_visual7w
    from mm_kptm.data.formats.vision.visual_genome import read_visual_genome
    from mm_kptm.data.formats.vision.vizwiz import VizWizQuestion, read_vizwiz
    from mm_kptm.data.formats.vision.web_captions import read_conceptual_captions, read_sbu
else:
    __getattr__ = lazy(
        __name__,
        {
            "flickr30k_entities": ["PhrasedCaption", "read_flickr30k_entities"],
            "gqa": ["GqaQuestion", "read_gqa"],
            "nlvr2": ["PairStatement", "read_nlvr2"],
            "ok_vqa": ["read_ok_vqa"],
            "snli_ve": ["Hypothesis", "read_snli_ve"],
            "vcr": ["VcrQuestion", "read_vcr"],
            "visual7w": ["ChoiceQuestion", "read_visual7w"],
            "visual_genome": ["read_visual_genome"],
            "vizwiz": ["VizWizQuestion", "read_vizwiz"],
            "web_captions": ["read_conceptual_captions", "read_sbu"],
        },
    )

__all__ = [
    "ChoiceQuestion",
    "GqaQuestion",
    "Hypothesis",
    "PairStatement",
    "PhrasedCaption",
    "VcrQuestion",
    "VizWizQuestion",
    "read_conceptual_captions",
    "read_flickr30k_entities",
    "read_gqa",
    "read_nlvr2",
    "read_ok_vqa",
    "read_sbu",
    "read_snli_ve",
    "read_vcr",
    "read_visual7w",
    "read_visual_genome",
    "read_vizwiz",
]
