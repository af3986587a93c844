"""Readers of published data files: VQA v2, COCO and Flickr30k, RefCOCO, XNLI, LAMA, FewRel and others."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.data.formats.captions import read_karpathy, read_refcoco
    from mm_kptm.data.formats.documents import read_documents, read_labelled_pairs
    from mm_kptm.data.formats.lama import read_lama, read_templates
    from mm_kptm.data.formats.mentions import read_fewrel, read_figer, read_open_entity, read_tacred
    from mm_kptm.data.formats.uer_tsv import read_classified, read_tagged
    from mm_kptm.data.formats.vqa_v2 import read_vqa_annotations, read_vqa_questions
    from mm_kptm.data.formats.xnli import read_xnli
else:
    __getattr__ = lazy(
        __name__,
        {
            "captions": ["read_karpathy", "read_refcoco"],
            "documents": ["read_documents", "read_labelled_pairs"],
            "lama": ["read_lama", "read_templates"],
            "mentions": ["read_fewrel", "read_figer", "read_open_entity", "read_tacred"],
            "uer_tsv": ["read_classified", "read_tagged"],
            "vqa_v2": ["read_vqa_annotations", "read_vqa_questions"],
            "xnli": ["read_xnli"],
        },
    )

__all__ = [
    "read_classified",
    "read_documents",
    "read_fewrel",
    "read_figer",
    "read_karpathy",
    "read_labelled_pairs",
    "read_lama",
    "read_open_entity",
    "read_refcoco",
    "read_tacred",
    "read_tagged",
    "read_templates",
    "read_vqa_annotations",
    "read_vqa_questions",
    "read_xnli",
]
