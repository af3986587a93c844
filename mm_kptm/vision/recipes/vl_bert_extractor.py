"""The ResNet of VL-BERT's checkpoints that were trained end to end: names and sizes."""

from collections.abc import Mapping
from typing import Any

from mm_kptm.errors import UserError
from mm_kptm.nn.backbones.caffe_resnet import depth_of
from mm_kptm.systems.keymap import TranslatedState
from mm_kptm.systems.rules import Drop, Rename, Rule, Same, drop_prefix


def infer_frontends(translation: TranslatedState, config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The sizes of the ResNet of a checkpoint that was trained end to end."""
    stem = translation.tensors.get("frontends.rois.body.conv1.weight")
    if stem is None:
        return {}
    network = config.get("NETWORK", {})
    blocks = sum(name.startswith("frontends.rois.body.layer3.") for name in translation.tensors if "bn3.weight" in name)
    layers = depth_of(blocks)
    if layers is None:
        raise UserError(
            f"the third stage of this ResNet has {blocks} bottleneck blocks, but those of 50, 101 and 152 layers have "
            "6, 23 and 36; shallower ones make 512 features, of which no released model was made"
        )
    if network.get("OUTPUT_CONV5", False):
        raise UserError(
            "the configuration sets NETWORK.OUTPUT_CONV5 to True, with which a second res5 reads the whole map; "
            "vl-bert is built with False, as all released models are"
        )
    frozen = list(network.get("IMAGE_FROZEN_BACKBONE_STAGES", (1, 2)))
    if sorted(frozen) != list(range(1, len(frozen) + 1)) or len(frozen) > 4:
        raise UserError(
            f"the configuration sets NETWORK.IMAGE_FROZEN_BACKBONE_STAGES to {frozen}, but the stages that are not "
            "trained are the first ones, such as [1, 2]"
        )
    return {
        "rois": {
            "layers": layers,
            "width": stem.shape[0],
            "stride_in_1x1": bool(network.get("IMAGE_STRIDE_IN_1x1", True)),
            "dilated": bool(network.get("IMAGE_C5_DILATED", True)),
            "frozen": len(frozen),
            "freeze_batch_norm": bool(network.get("IMAGE_FROZEN_BN", True)),
        }
    }


def _stages(theirs: str, ours: str) -> tuple[Rule, ...]:
    """Residual blocks below a prefix; norms in evaluation read no count of batches."""
    counted = "their norms are used in evaluation mode, which reads no count of batches"
    return (
        Drop(f"{theirs}.{{i}}.{{part}}.num_batches_tracked", because=counted),
        Drop(f"{theirs}.{{i}}.downsample.1.num_batches_tracked", because=counted),
        Rename(f"{theirs}.{{i}}.{{part}}.{{leaf}}", f"{ours}.{{i}}.{{part}}.{{leaf}}"),
        Rename(f"{theirs}.{{i}}.downsample.{{k}}.{{leaf}}", f"{ours}.{{i}}.downsample.{{k}}.{{leaf}}"),
    )


_RESNET = "image_feature_extractor"
EXTRACTOR: tuple[Rule, ...] = (
    Drop(f"{_RESNET}.backbone.bn1.num_batches_tracked", because="norms in evaluation mode read no count of batches"),
    Rename(f"{_RESNET}.backbone.{{part}}.{{leaf}}", "frontends.rois.body.{part}.{leaf}"),
    *(
        rule
        for stage in ("layer1", "layer2", "layer3")
        for rule in _stages(f"{_RESNET}.backbone.{stage}", f"frontends.rois.body.{stage}")
    ),
    *_stages(f"{_RESNET}.roi_head_feature_extractor", "frontends.rois.res5"),
    Same(f"{_RESNET}.head.0.{{i}}.{{part}}.{{leaf}}", f"{_RESNET}.roi_head_feature_extractor.{{i}}.{{part}}.{{leaf}}"),
    Same(
        f"{_RESNET}.head.0.{{i}}.downsample.{{k}}.{{leaf}}",
        f"{_RESNET}.roi_head_feature_extractor.{{i}}.downsample.{{k}}.{{leaf}}",
    ),
    *drop_prefix(
        f"{_RESNET}.regularizing_predictor",
        because="classes of objects from crops are an auxiliary loss that the released models were trained without",
    ),
)
