"""Region feature extractors: bottom-up detectors, grids of timm backbones, raw patches."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.vision.extractors.bottom_up import BottomUpDetector
    from mm_kptm.vision.extractors.build import ExtractorSettings, build_extractor
    from mm_kptm.vision.extractors.cells import GridExtractor, PatchExtractor
    from mm_kptm.vision.extractors.extractor import Extractor, Picture
    from mm_kptm.vision.extractors.proposals import ProposalRule
    from mm_kptm.vision.extractors.selection import SelectionRule
    from mm_kptm.vision.extractors.torchvision_detector import TorchvisionDetector
else:
    __getattr__ = lazy(
        __name__,
        {
            "bottom_up": ["BottomUpDetector"],
            "build": ["ExtractorSettings", "build_extractor"],
            "cells": ["GridExtractor", "PatchExtractor"],
            "extractor": ["Extractor", "Picture"],
            "proposals": ["ProposalRule"],
            "selection": ["SelectionRule"],
            "torchvision_detector": ["TorchvisionDetector"],
        },
    )

__all__ = [
    "BottomUpDetector",
    "Extractor",
    "ExtractorSettings",
    "GridExtractor",
    "PatchExtractor",
    "Picture",
    "ProposalRule",
    "SelectionRule",
    "TorchvisionDetector",
    "build_extractor",
]
