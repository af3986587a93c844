"""Sub-layer schedules of VOLTA's gated encoder as strings (Bugliarello et al. 2021, section 4).

A schedule is a string with one word per sub-layer. An attention sub-layer names pairs of query and source stream, ``t``
for text and ``v`` for regions: ``tt+vv`` is self-attention in each stream, ``tv+vt`` cross-attention, ``tt+tv+vt+vv``
both in one softmax. A feed-forward sub-layer names its streams: ``t+v`` or ``t``. A final ``=`` means that the two
streams share its weights. A stream not named in a sub-layer passes through.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mm_kptm.errors import UserError

READS = ("tt", "tv", "vt", "vv")
FEEDS = ("t", "v")


@dataclass(frozen=True)
class Sublayer:
    """One word of a schedule."""

    reads: frozenset[str]  #: pairs of query and source stream; empty for a feed-forward sub-layer
    feeds: frozenset[str]  #: streams of a feed-forward sub-layer
    shared: bool

    def concerns(self, stream: str) -> bool:
        """Whether the sub-layer applies to the stream ``t`` or ``v``."""
        return stream in self.feeds or any(pair[0] == stream for pair in self.reads)


def sublayers(schedule: str) -> list[Sublayer]:
    """The sub-layers of a schedule.

    Raises:
        UserError: an invalid word, a source stream without queries of its own, or sharing by one stream.

    >>> [sorted(sublayer.reads or sublayer.feeds) for sublayer in sublayers("tt+vv t tv+vt=")]
    [['tt', 'vv'], ['t'], ['tv', 'vt']]
    """
    return [_sublayer(word, number) for number, word in enumerate(schedule.split())]


def _sublayer(word: str, number: int) -> Sublayer:
    parts = word.removesuffix("=").split("+")
    reads, feeds = frozenset(parts) & set(READS), frozenset(parts) & set(FEEDS)
    if len(parts) != len(reads) + len(feeds) or bool(reads) == bool(feeds):
        raise UserError(
            f"sub-layer {number} of the schedule is {word!r}; a word joins some of {', '.join(READS)}, or some of "
            f"{', '.join(FEEDS)}, with +, and ends in = where the streams share weights"
        )
    found = Sublayer(reads, feeds, shared=word.endswith("="))
    both = found.concerns("t") and found.concerns("v")
    if not both and (found.shared or {"tv", "vt"} & reads):
        raise UserError(
            f"sub-layer {number} of the schedule is {word!r}, which takes both streams, but one has no part"
        )
    return found


def joined(num_layers: int) -> str:
    """Schedule of single-stream models: joint attention with shared weights."""
    return " ".join(["tt+tv+vt+vv= t+v="] * num_layers)


def side_by_side(num_layers: int, num_region_layers: int, num_cross_layers: int) -> str:
    """Schedule of LXMERT: layers of each stream, then rounds of cross-attention, self-attention and feed-forward."""
    apart = [
        "tt+vv t+v" if i < min(num_layers, num_region_layers) else "tt t" if i < num_layers else "vv v"
        for i in range(max(num_layers, num_region_layers))
    ]
    return " ".join(apart + ["tv+vt= tt+vv t+v"] * num_cross_layers)


def text_first(num_layers: int, num_cross_layers: int) -> str:
    """Schedule of ViLBERT: text layers, then rounds of a co-attention layer and a layer of each stream."""
    return " ".join(["tt t"] * num_layers + ["tv+vt t+v tt+vv t+v"] * num_cross_layers)


def schedule_in(config: Mapping[str, Any]) -> str | None:
    """The schedule of a published configuration; None where it has no lists of sub-layers.

    Raises:
        UserError: a sub-layer is in no list, or in lists of both kinds.
    """
    lists: dict[str, Sequence[int]] = {
        **{name: config.get(f"{name}_attn_sublayers", ()) for name in READS},
        **{name: config.get(f"{name}_ff_sublayers", ()) for name in FEEDS},
    }
    last = max((max(numbers) for numbers in lists.values() if numbers), default=None)
    if last is None:
        return None
    words = []
    for number in range(last + 1):
        kinds = [[name for name in names if number in lists[name]] for names in (READS, FEEDS)]
        if all(kinds) or not any(kinds):
            how = "both as attention and as feed-forward" if all(kinds) else "in none of the lists"
            raise UserError(
                f"this configuration has sub-layer {number} {how}; *_attn_sublayers and *_ff_sublayers must name every "
                f"sub-layer from 0 to {last} as one of the two"
            )
        both = {name[0] for name in kinds[0] + kinds[1]} == {"t", "v"}
        shared = both and number in config.get("shared_sublayers", ())
        words.append("+".join(kinds[0] or kinds[1]) + ("=" if shared else ""))
    return " ".join(words)
