"""Region feature extractors: bottom-up detectors, grids of timm backbones, raw patches."""
