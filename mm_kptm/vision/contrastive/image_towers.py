"""Image towers by the fields of open_clip's configurations, and from any backbone of timm.

Shapes: N images, D dim of the joint space.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import partial
from typing import Any, cast

from torch import Tensor, nn

from mm_kptm.errors import UserError, nearest
from mm_kptm.vision.contrastive.vision_transformer import VisionTransformer

#: Fields of a ``vision_cfg`` that change training or outputs that are not read here.
_PASSED_OVER = frozenset({"output_tokens", "timm_model_pretrained", "timm_drop", "timm_drop_path"})
_TIMM = {
    "timm_model_name": None,
    "image_size": 224,
    "timm_pool": "avg",
    "timm_proj": "linear",
    "timm_proj_bias": False,
    "timm_model_kwargs": None,
}
_RESNET = {"layers": (3, 4, 6, 3), "width": 64, "head_width": 64, "image_size": 224}
#: Fields that mean what their absence means.
_DEFAULTS: dict[str, tuple[Any, ...]] = {
    "patch_dropout": (0, 0.0),
    "attentional_pool": (False,),
    "pos_embed_type": ("learnable",),
    "block_type": (None, "default"),
    "act_kwargs": (None,),
    **dict.fromkeys(
        ("qk_norm", "scaled_cosine_attn", "scale_heads", "scale_attn_inner", "scale_attn", "scale_fc"), (False,)
    ),
}


def image_tower(vision: Mapping[str, Any], embed_dim: int, *, activation: str) -> nn.Module:
    """The image tower that a ``vision_cfg`` of open_clip describes; its output is in the joint space, [N, D].

    A ``timm_model_name`` makes a backbone of timm, a list of ``layers`` CLIP's ResNet, a number of them a vision
    transformer.

    Args:
        vision: open_clip's fields.
        embed_dim: D.
        activation: of a vision transformer; backbones of timm have their own.

    Raises:
        UserError: a field or the backbone is unknown, or asks for a part that no tower has.
    """
    vision = {name: value for name, value in vision.items() if name not in _PASSED_OVER}
    if vision.get("timm_model_name") is not None:
        return _timm(_known("timm", vision, _TIMM), embed_dim)
    if vision.get("patch_size", 16) is None:
        del vision["patch_size"]
    if isinstance(vision.get("layers"), list | tuple):
        return _resnet(_known("ResNet", vision, _RESNET), embed_dim)
    published = {name: one.default for name, one in inspect.signature(VisionTransformer).parameters.items()}
    fields = _known("vision transformer", _normed(vision), published)
    return VisionTransformer(embed_dim, **{**fields, "activation": activation})


def _normed(vision: Mapping[str, Any]) -> dict[str, Any]:
    norm = vision.get("norm_kwargs") or {}
    rest = {name: value for name, value in vision.items() if name != "norm_kwargs"}
    return rest | ({"norm_eps": norm["eps"]} if "eps" in norm else {})


def _known(kind: str, vision: Mapping[str, Any], published: Mapping[str, Any]) -> dict[str, Any]:
    """The given fields; those that only repeat a default are left out."""
    fields = {name: value for name, value in vision.items() if name in published}
    for name, value in vision.items():
        if name in published or (name in _DEFAULTS and value in _DEFAULTS[name]):
            continue
        raise UserError(
            f"the image tower is a {kind}, which has no {name}={value!r}"
            f"{nearest(name, [*published], otherwise='it has ' + ', '.join(published))}"
        )
    return fields


def _resnet(fields: Mapping[str, Any], embed_dim: int) -> nn.Module:
    from open_clip.modified_resnet import ModifiedResNet

    sizes = {**_RESNET, **fields}
    width = int(sizes["width"])
    tower: nn.Module = ModifiedResNet(
        layers=list(sizes["layers"]),
        output_dim=embed_dim,
        heads=width * 32 // int(sizes["head_width"]),
        image_size=sizes["image_size"],
        width=width,
    )
    return tower


def _timm(fields: Mapping[str, Any], embed_dim: int) -> nn.Module:
    import timm
    from open_clip.timm_model import TimmModel

    sizes = {**_TIMM, **fields}
    name = str(sizes["timm_model_name"])
    if name not in timm.list_models() and not timm.is_model(name):
        raise UserError(f"timm has no backbone {name!r}{nearest(name, timm.list_models())}")
    if sizes["timm_model_kwargs"] is not None:
        return PooledBackbone(name, int(sizes["image_size"]), str(sizes["timm_pool"]), sizes["timm_model_kwargs"])
    tower: nn.Module = TimmModel(
        name,
        embed_dim=embed_dim,
        image_size=sizes["image_size"],
        pool=sizes["timm_pool"],
        proj=sizes["timm_proj"],
        proj_bias=sizes["timm_proj_bias"],
    )
    return tower


class PooledBackbone(nn.Module):
    """A backbone of timm with other sizes than its name says, whose pooled vector is in the joint space.

    Args:
        name: of the backbone.
        image_size: side of the square images.
        pool: timm's pooling.
        fields: arguments of the backbone's class; ``norm_eps`` is that of its norms.

    Raises:
        UserError: the class has no such argument, or cannot be built with it.
    """

    def __init__(self, name: str, image_size: int, pool: str, fields: Mapping[str, Any]) -> None:
        import timm

        super().__init__()
        chosen = {key: value for key, value in fields.items() if key != "norm_eps"}
        if "norm_eps" in fields:
            chosen["norm_layer"] = partial(nn.LayerNorm, eps=fields["norm_eps"])
        try:
            self.trunk = timm.create_model(name, num_classes=0, global_pool=pool, img_size=image_size, **chosen)
        except (TypeError, ValueError, AssertionError, RuntimeError) as error:
            raise UserError(f"timm's backbone {name} cannot be built with {', '.join(fields)}: {error}") from None

    def forward(self, pixels: Tensor) -> Tensor:
        """[N, 3, height, width] -> [N, D]."""
        vectors: Tensor = self.trunk(pixels)
        return vectors


def feature_map(name: str) -> tuple[nn.Module, int]:
    """A backbone of timm as a module from pixels to its last map, and the number of channels of that.

    Raises:
        UserError: timm has no such backbone.
    """
    import timm

    if not timm.is_model(name.split(".")[0]):
        raise UserError(f"timm has no backbone {name!r}{nearest(name, timm.list_models())}")
    trunk = timm.create_model(name, pretrained=False, num_classes=0, global_pool="")
    return trunk, cast(int, trunk.num_features)
