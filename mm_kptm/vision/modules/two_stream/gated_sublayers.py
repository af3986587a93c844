"""Builder of the sub-layers of VOLTA's gated encoder from a schedule and sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from mm_kptm.errors import UserError
from mm_kptm.nn.attention import Attention
from mm_kptm.nn.steps import SelfStep, Step
from mm_kptm.nn.sublayers import AttentionSublayer, FeedForwardSublayer, bert_norm
from mm_kptm.vision.modules.two_stream.gated_attention import FeedForwardStep, GatedStep
from mm_kptm.vision.modules.two_stream.sublayer_schedule import Sublayer, sublayers

#: Sizes that may differ per sub-layer, and the published dictionaries of them.
OWN_SIZES = {
    "width": "sublayer2attn_hidden_size",
    "num_heads": "sublayer2num_attention_heads",
    "ffn_dim": "sublayer2intermediate_size",
    "region_width": "sublayer2v_attn_hidden_size",
    "region_heads": "sublayer2v_num_attention_heads",
    "region_ffn_dim": "sublayer2v_intermediate_size",
}


@dataclass(frozen=True)
class StreamSizes:
    """Sizes of the sub-layers of one stream."""

    dim: int
    num_heads: int
    ffn_dim: int
    activation: str = "gelu"
    dropout: float = 0.1
    attention_dropout: float = 0.1
    width: int | None = None  #: of the attention; None: ``dim``

    def own(self, sizes: Mapping[str, int], *, prefix: str = "") -> StreamSizes:
        """The sizes, overridden by those of one sub-layer."""
        return replace(
            self,
            width=sizes.get(f"{prefix}width", self.width),
            num_heads=sizes.get(f"{prefix}heads" if prefix else "num_heads", self.num_heads),
            ffn_dim=sizes.get(f"{prefix}ffn_dim", self.ffn_dim),
        )

    def attention(self) -> AttentionSublayer:
        """An attention sublayer of the stream."""
        attention = Attention(
            self.dim, self.num_heads, source_dim=self.dim, width=self.width, dropout=self.attention_dropout
        )
        return AttentionSublayer(attention, bert_norm(self.dim), dropout=self.dropout)

    def ffn(self) -> FeedForwardSublayer:
        """A feed-forward sublayer of the stream."""
        return FeedForwardSublayer(
            self.dim, self.ffn_dim, bert_norm(self.dim), activation=self.activation, dropout=self.dropout
        )


def gated_steps(
    schedule: str, text: StreamSizes, regions: StreamSizes, own: Mapping[str, Mapping[str, int]]
) -> Iterator[tuple[str, Step]]:
    """The steps of a schedule, named by their indices.

    Args:
        schedule: see :mod:`mm_kptm.vision.modules.two_stream.sublayer_schedule`.
        text: sizes of the text's parts.
        regions: sizes of the regions' parts.
        own: sizes of single sub-layers (:data:`OWN_SIZES`) by index.

    Raises:
        UserError: the schedule is invalid, or the sizes do not fit it.
    """
    words = sublayers(schedule)
    check_own_sizes(own, len(words))
    for number, sublayer in enumerate(words):
        sizes = own.get(str(number), {})
        yield str(number), _step(number, sublayer, text.own(sizes), regions.own(sizes, prefix="region_"))


def _step(number: int, sublayer: Sublayer, text: StreamSizes, regions: StreamSizes) -> Step:
    if sublayer.shared and (text.dim, text.num_heads, text.ffn_dim, text.width) != (
        regions.dim,
        regions.num_heads,
        regions.ffn_dim,
        regions.width,
    ):
        raise UserError(
            f"in sub-layer {number} text and regions share weights, so both need the same sizes, but the text has "
            f"width {text.dim}, {text.num_heads} heads and {text.ffn_dim} inner dims, the regions have {regions.dim}, "
            f"{regions.num_heads} and {regions.ffn_dim}"
        )
    streams = {"t": text, "v": regions}
    if sublayer.feeds:
        feeds = {name: streams[name].ffn() for name in sorted(sublayer.feeds)}
        return FeedForwardStep(feeds.get("t"), feeds["t"] if sublayer.shared else feeds.get("v"))
    layers = {name: stream.attention() for name, stream in streams.items() if sublayer.concerns(name)}
    left, right = layers.get("t"), layers["t"] if sublayer.shared else layers.get("v")
    if left is not None and right is not None and {"tv", "vt"} & sublayer.reads:
        return GatedStep(left, right, sublayer.reads)
    return SelfStep(left, right)


def check_own_sizes(own: Mapping[str, Mapping[str, int]], count: int) -> None:
    """Check per-sub-layer sizes.

    Raises:
        UserError: there is no such sub-layer, or no such size.
    """
    for number, sizes in own.items():
        if not number.isdecimal() or int(number) >= count:
            raise UserError(f"there are sizes for sub-layer {number}, but the schedule has sub-layers 0 to {count - 1}")
        for name in sizes:
            if name not in OWN_SIZES:
                raise UserError(f"sub-layer {number} has no size {name!r}; it has {', '.join(OWN_SIZES)}")


def own_sizes_in(config: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Sizes of single sub-layers in a published configuration, by index."""
    own: dict[str, dict[str, int]] = {}
    for name, field in OWN_SIZES.items():
        for number, size in config.get(field, {}).items():
            own.setdefault(str(number), {})[name] = size
    return own
