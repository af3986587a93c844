"""From pictures to regions: detectors by the bottom-up rules, grids of timm backbones, patches."""
