"""InfoXLM's cross-lingual contrast (XlCo): momentum encoder, queue of negatives and mixup of sentence pairs.

Shapes: B pairs contrasted, K rows of the queue, D dim.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mm_kptm.batch import Inputs, Movable, SequenceLayout, Tokens
from mm_kptm.crosslingual.corpora.token_pairs import both_sides
from mm_kptm.crosslingual.objectives.masking import xlm_masking
from mm_kptm.errors import UserError
from mm_kptm.objectives.next_tokens import TARGETS
from mm_kptm.objectives.spec import ObjectiveContext, ObjectiveSpec
from mm_kptm.objectives.tokens import TokenMasker
from mm_kptm.systems.encoder import Encoder, LayeredEncoder, layer_at
from mm_kptm.systems.recipe import Addition
from mm_kptm.systems.system import System
from mm_kptm.train.parallel.processes import all_gather_rows


class MomentumContrast(nn.Module):
    """Momentum encoder, projections and a ring buffer of keys (Chi et al. 2021, section 3.2).

    All tensors are parameters, so that a saved system can resume; only ``projection`` is trained.
    """

    def __init__(self, encoder: nn.Module, dim: int, queue_size: int) -> None:
        super().__init__()
        if queue_size < 1:
            raise UserError(f"a queue holds at least one key, but queue_size is {queue_size}")
        self.slow = copy.deepcopy(encoder).requires_grad_(False)
        self.projection = nn.Parameter(torch.randn(1, dim, dim) * dim**-0.5)
        self.slow_projection = nn.Parameter(self.projection.detach().clone(), requires_grad=False)
        self.queue = nn.Parameter(torch.zeros(queue_size, dim), requires_grad=False)
        self.pointer = nn.Parameter(torch.zeros(1, dtype=torch.long), requires_grad=False)
        self.count = nn.Parameter(torch.zeros(1, dtype=torch.long), requires_grad=False)

    def negatives(self) -> Tensor:
        """A copy of the keys written so far, [K or fewer, D]."""
        return self.queue[: min(int(self.count), len(self.queue))].detach().clone()

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Write keys [B, D] over the oldest ones."""
        size, start = len(self.queue), int(self.pointer)
        places = (start + torch.arange(len(keys), device=keys.device)) % size
        # of a batch longer than the buffer the last keys stay
        self.queue[places[-size:]] = keys[-size:].to(self.queue.dtype)
        self.pointer.fill_((start + len(keys)) % size)
        self.count.add_(len(keys))

    @torch.no_grad()
    def follow(self, encoder: nn.Module, momentum: float) -> None:
        """Update the momentum encoder: slow = momentum * slow + (1 - momentum) * fast."""
        pairs = [*zip(self.slow.parameters(), encoder.parameters(), strict=True)]
        for slow, fast in [*pairs, (self.slow_projection, self.projection)]:
            slow.mul_(momentum).add_(fast, alpha=1 - momentum)


@dataclass(frozen=True, eq=False)
class ContrastedTexts(Movable):
    """Texts on either side of a contrast, paired by index."""

    queries: Tokens
    keys: Tokens

    def __len__(self) -> int:
        return len(self.queries.layout)


def mixup_modes(indices: Sequence[int], *, epoch: int, seed: int = 1) -> list[int]:
    """Mixup mode of every item, 0 to 7, drawn from seed, epoch and index as in the released loader."""
    import numpy as np

    seeds = (int(hash((seed, epoch, index)) % 1e6) for index in indices)
    return [int(np.random.RandomState(number).randint(0, 8)) for number in seeds]


def mixed_up(sources: Tokens, translations: Tokens, modes: Sequence[int]) -> ContrastedTexts:
    """Mixup of two translation pairs: concatenated sources against concatenated translations (section 3.2).

    Item i is made of pairs 2i and 2i + 1; the second sentence of a row loses its first token. Bit 0 of its mode swaps
    the sources, bit 1 the translations, bit 2 the two sides.

    Raises:
        UserError: the pairs are not twice as many as the modes.
    """
    layouts = sources.layout, translations.layout
    if not len(layouts[0]) == len(layouts[1]) == 2 * len(modes):
        raise UserError(
            f"{len(modes)} mixed items need {2 * len(modes)} sentences with as many translations, but there are "
            f"{len(layouts[0])} and {len(layouts[1])}"
        )
    both = _behind(sources, translations)
    rows: tuple[list[list[int]], list[list[int]]] = ([], [])
    for item, mode in enumerate(modes):
        sides = []
        for side in (0, 1):
            first, second = (2 * item + 1, 2 * item) if mode >> side & 1 else (2 * item, 2 * item + 1)
            offsets = layouts[side].offsets
            shift = side * layouts[0].total
            one = range(offsets[first] + shift, offsets[first + 1] + shift)
            other = range(offsets[second] + shift + 1, offsets[second + 1] + shift)
            sides.append([*one, *other])
        if mode >> 2 & 1:
            sides.reverse()
        for chosen, side_rows in zip(rows, sides, strict=True):
            chosen.append(side_rows)
    return ContrastedTexts(*(_taken(both, chosen) for chosen in rows))


class CrossLingualContrast:
    """Contrast of a text and its translation against a queue (Chi et al. 2021, eq. 6), with the head ``xlco``.

    Sources are the text of the inputs and translations their target, framed separately. Keys come from the momentum
    encoder and enter the queue during training; until the queue is full, the keys so far are the negatives.
    The trainer calls :meth:`after_step` after every step of the optimiser.

    Args:
        layer: depth whose first state represents a text, 0 being the embeddings (8 of 12 in base size, 12 of 24 in
            large); default: at ``depth`` of the layers.
        depth: share of the layers.
        temperature: divides the scores.
        momentum: of the momentum encoder.
        masking: masks tokens of both sides first, as in the released code; default: none.
        mixup: whether pairs are mixed two by two; a remaining one stays unmixed.
        queue_size: negatives that are kept (131,072 as published).
    """

    name = "xlco"

    def __init__(
        self,
        *,
        layer: int | None = None,
        depth: float = 2 / 3,
        temperature: float = 0.25,
        momentum: float = 0.9999,
        masking: TokenMasker | None = None,
        mixup: bool = True,
        queue_size: int | None = None,
    ) -> None:
        self.layer = layer
        self.depth = depth
        self.sizes = {} if queue_size is None else {"queue_size": queue_size}
        self.temperature = temperature
        self.momentum = momentum
        self.masking = masking
        self.mixup = mixup

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> ContrastedTexts:
        """The two sides, masked and mixed.

        Raises:
            UserError: there is no text or no target, or they differ in number.
        """
        sides = both_sides(inputs, self.name)
        if self.masking is not None:
            sides = self.masking.mask(sides[0], generator)[0], self.masking.mask(sides[1], generator)[0]
        count = len(sides[0].layout)
        if not self.mixup or count < 2:
            return ContrastedTexts(*sides)
        modes = torch.randint(0, 8, (count // 2,), generator=generator).tolist()
        even, odd = torch.arange(count // 2 * 2), torch.arange(count // 2 * 2, count)
        mixed = mixed_up(_sequences(sides[0], even), _sequences(sides[1], even), modes)
        if not len(odd):
            return mixed
        left = [_sequences(side, odd) for side in sides]
        return ContrastedTexts(_behind(mixed.queries, left[0]), _behind(mixed.keys, left[1]))

    def scores(self, system: System, batch: ContrastedTexts) -> tuple[Tensor, Tensor]:
        """Logits of the positive key, in column 0, and of the queue, [B, 1 + K], and the keys, [B, D]."""
        head = cast(MomentumContrast, system.head(self.name))
        if not int(head.count):
            head.follow(system.encoder, 0.0)
        with torch.no_grad():
            keys = self._first_states(head.slow, batch.keys) @ head.slow_projection[0]
        queries = self._first_states(system.encoder, batch.queries) @ head.projection[0]
        own = (queries * keys).sum(-1, keepdim=True)
        return torch.cat([own, queries @ head.negatives().T.to(queries.dtype)], 1) / self.temperature, keys

    def losses(self, system: System, batch: ContrastedTexts) -> Tensor:
        """The cross-entropy of every text, [B]; in training its keys enter the queue afterwards."""
        scores, keys = self.scores(system, batch)
        if system.training:
            cast(MomentumContrast, system.head(self.name)).enqueue(all_gather_rows(keys))
        return F.cross_entropy(scores, torch.zeros(len(keys), dtype=torch.long, device=keys.device), reduction="none")

    def loss(self, system: System, batch: ContrastedTexts) -> Tensor:
        """The mean over texts."""
        return self.losses(system, batch).mean()

    def measure(self, system: System, batch: ContrastedTexts) -> Tensor:
        """The loss of each text, [B]."""
        return self.losses(system, batch)

    def after_step(self, system: System, step: int = 1) -> None:
        """Update the momentum encoder, after every optimiser step."""
        cast(MomentumContrast, system.head(self.name)).follow(system.encoder, self.momentum)

    def _first_states(self, encoder: nn.Module, tokens: Tokens) -> Tensor:
        """The state of every first token at the chosen depth, [B, D]; deeper layers are not computed."""
        layered = cast(LayeredEncoder, encoder)
        layer = self.layer if self.layer is not None else layer_at(encoder, self.depth, self.name)
        depths = list(islice(layered.hidden_states(Inputs(text=tokens)), layer, layer + 1))
        if not depths:
            raise UserError(f"xlco reads layer {layer}, which is deeper than the encoder; give it another layer")
        states: Tensor = depths[0].x
        return states[tokens.layout.starts(states.device)]


def _behind(first: Tokens, second: Tokens) -> Tokens:
    """Concatenation of the sequences of two streams."""
    both = (first.languages, second.languages)
    return Tokens(
        ids=torch.cat([first.ids, second.ids]),
        layout=SequenceLayout(first.layout.lengths + second.layout.lengths),
        positions=torch.cat([first.positions, second.positions]),
        segments=torch.cat([first.segments, second.segments]),
        languages=None if both[0] is None or both[1] is None else torch.cat([both[0], both[1]]),
    )


def _taken(tokens: Tokens, rows: Sequence[Sequence[int]]) -> Tokens:
    """Sequences of the given rows, with continued positions."""
    layout = SequenceLayout(tuple(map(len, rows)))
    numbers = torch.tensor([row for sequence in rows for row in sequence], dtype=torch.long, device=tokens.ids.device)
    return Tokens(
        ids=tokens.ids[numbers],
        layout=layout,
        positions=layout.offsets_in_sequence(numbers.device),
        segments=tokens.segments[numbers],
        languages=None if tokens.languages is None else tokens.languages[numbers],
    )


def _sequences(tokens: Tokens, sequences: Tensor) -> Tokens:
    layout, rows = tokens.layout.select(sequences)
    languages = None if tokens.languages is None else tokens.languages[rows]
    return replace(
        tokens,
        ids=tokens.ids[rows],
        layout=layout,
        positions=tokens.positions[rows],
        segments=tokens.segments[rows],
        languages=languages,
        mask_groups=None,
        token_labels=None,
    )


PAPER = (
    "Chi et al. 2021, InfoXLM: An Information-Theoretic Framework for Cross-Lingual Language Model Pre-Training, "
    "NAACL, section 3.2"
)


def contrast(encoder: nn.Module, *, queue_size: int = 1024) -> MomentumContrast:
    """The momentum encoder and the queue (Chi et al. 2021, section 3.2)."""
    return MomentumContrast(encoder, cast(Encoder, encoder).dim, queue_size)


def _from_context(context: ObjectiveContext) -> CrossLingualContrast:
    masking = xlm_masking(context.specials, context.vocab_size, rate=context.mask_rate)
    return CrossLingualContrast(masking=masking, **context.arguments)


QUEUE = Addition(CrossLingualContrast.name, PAPER, heads={CrossLingualContrast.name: contrast})
XLCO = ObjectiveSpec(
    CrossLingualContrast.name,
    PAPER,
    _from_context,
    needs=(TARGETS,),
    arguments=("layer", "depth", "temperature", "momentum", "mixup", "queue_size"),
)
