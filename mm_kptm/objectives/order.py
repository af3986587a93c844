"""Classification of texts and text pairs on the pooled state: sentence order, next sentence, labelled pairs.

Shapes: T token rows, B examples, C classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from itertools import permutations

import torch
import torch.nn.functional as F
from torch import Tensor

from mm_kptm.batch import POOLED_ONLY, Encoded, Inputs, Movable, Tokens
from mm_kptm.errors import UserError
from mm_kptm.objectives.spec import DOCUMENTS, ObjectiveContext, ObjectiveSpec
from mm_kptm.systems.system import System

FOLLOWS = "follows"  #: token label of segment pairs: 1 where the second follows the first


@dataclass(frozen=True, eq=False)
class ClassifiedTexts(Movable):
    """Inputs and the class of each example."""

    inputs: Inputs
    classes: Tensor  #: [B]

    def __len__(self) -> int:
        return len(self.inputs)


class PooledClasses(ABC):
    """Classification objective on the pooled state, with the head of its own name."""

    name: str

    @abstractmethod
    def prepare(self, inputs: Inputs, generator: torch.Generator) -> ClassifiedTexts:
        """The inputs with their classes."""

    def losses(self, system: System, batch: ClassifiedTexts) -> Tensor:
        """The cross-entropy of every example, [B]."""
        encoded: Encoded = system(batch.inputs, POOLED_ONLY)
        scores = system.head(self.name)(encoded.pooled)
        return F.cross_entropy(scores, batch.classes, reduction="none")

    def loss(self, system: System, batch: ClassifiedTexts) -> Tensor:
        """The mean over examples."""
        return self.losses(system, batch).mean()

    def measure(self, system: System, batch: ClassifiedTexts) -> Tensor:
        """The loss of each example, [B]."""
        return self.losses(system, batch)


class SentenceOrder(PooledClasses):
    """Sentence-order prediction: two neighbouring segments in order (class 0) or swapped (class 1).

    From ALBERT (Lan et al. 2020, section 3.1); MacBERT uses it in place of next-sentence prediction.

    Args:
        rate: the share of pairs that are swapped.
    """

    name = "sentence-order"

    def __init__(self, *, rate: float = 0.5) -> None:
        self.rate = rate

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> ClassifiedTexts:
        """Swap the segments of some pairs, ``[CLS] A [SEP] B [SEP]``; the first row stays in place.

        Raises:
            UserError: there is no text, or a text has no second segment.
        """
        text = inputs.text
        if text is None:
            raise UserError(f"{self.name} swaps the parts of a text, but the inputs have none")
        swapped = torch.rand(len(inputs), generator=generator) < self.rate
        order, segments = [], []
        for number, (first, length) in enumerate(zip(text.layout.offsets, text.layout.lengths, strict=False)):
            second = first + int((text.segments[first : first + length] == 0).sum())
            if not first + 1 < second < first + length:
                raise UserError(
                    f"{self.name} swaps two parts of a text, but text {number} has one; give pairs of texts"
                )
            parts = [range(first + 1, second), range(second, first + length)]
            parts = parts[::-1] if swapped[number] else parts
            order += [first, *parts[0], *parts[1]]
            segments += [0] * (1 + len(parts[0])) + [1] * len(parts[1])
        moved = replace(reordered(text, torch.tensor(order)), segments=torch.tensor(segments))
        return ClassifiedTexts(inputs.with_streams(text=moved), swapped.long())


class SentenceReordering(PooledClasses):
    r"""Sentence reordering: predict the permutation of shuffled segments (Sun et al. 2020, ERNIE 2.0, section 4.2.2).

    A paragraph is split between sentences into 1 to m segments, which are permuted. Every permutation of every number
    of segments is a class, :math:`k = \sum_{n=1}^m n!` in all. A paragraph of fewer sentences has fewer segments.

    Args:
        most: m, the maximum number of segments; the paper does not give it.
    """

    name = "sentence-reordering"

    def __init__(self, *, most: int = 3) -> None:
        self.orders = [order for count in range(1, most + 1) for order in permutations(range(count))]
        self.most = most

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> ClassifiedTexts:
        """Shuffle the segments of every text; rows outside sentences stay in place.

        Raises:
            UserError: the text has no sentence labels.
        """
        text, labels = _labelled_text(inputs, "sentence", self.name)
        order, classes = torch.arange(len(text.ids)), []
        for first, length in zip(text.layout.offsets, text.layout.lengths, strict=False):
            sentences = labels[first : first + length]
            rows = first + (sentences >= 0).nonzero().squeeze(1)
            begins = (sentences[sentences >= 0].diff() != 0).nonzero().squeeze(1) + 1
            count = int(torch.randint(min(self.most, len(begins) + 1), (1,), generator=generator)) + 1
            cuts = begins[torch.randperm(len(begins), generator=generator)[: count - 1]].sort().values
            moved = torch.randperm(count, generator=generator).tolist()
            segments = rows.tensor_split(cuts)
            order[rows] = torch.cat([segments[place] for place in moved])
            classes.append(self.orders.index(tuple(moved)))
        shown = reordered(text, order)
        return ClassifiedTexts(inputs.with_streams(text=shown), torch.tensor(classes, dtype=torch.long))


class NextSentence(PooledClasses):
    """Next-sentence prediction: does the second segment follow the first (Devlin et al. 2019, section 3.1)?

    Args:
        next_class: class of consecutive pairs: 0 in BERT and most of its successors, 1 in Baidu's ERNIE.
    """

    name = "next-sentence"

    def __init__(self, *, next_class: int = 0) -> None:
        self.next_class = next_class

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> ClassifiedTexts:
        """Classes from the token label ``follows``, 1 or 0, that the source gave each pair; deterministic.

        Raises:
            UserError: the text has no such label.
        """
        text, labels = _labelled_text(inputs, FOLLOWS, self.name)
        follows = labels[text.layout.starts(labels.device)]
        return ClassifiedTexts(inputs, torch.where(follows == 1, self.next_class, 1 - self.next_class))


class PairClassification(PooledClasses):
    """Classification of a text or text pair by the token label of the objective's name.

    Args:
        name: name of the objective, its head and the token label.
        num_classes: number of classes, where the data define it.
    """

    def __init__(self, name: str, num_classes: int | None = None) -> None:
        self.name = name
        self.sizes: dict[str, int] = {} if num_classes is None else {"num_classes": num_classes}

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> ClassifiedTexts:
        """The inputs with the classes of their label; deterministic.

        Raises:
            UserError: the text has no such label.
        """
        text, labels = _labelled_text(inputs, self.name, self.name)
        starts = text.layout.starts(text.ids.device)
        return ClassifiedTexts(inputs, labels[starts])


def _labelled_text(inputs: Inputs, name: str, objective: str) -> tuple[Tokens, Tensor]:
    """The text of the inputs, and its token labels of a name, [T]."""
    text = inputs.text
    if text is None or text.token_labels is None or name not in text.token_labels:
        raise UserError(
            f"{objective} reads token labels {name}, but the inputs have none; take data with them, such as documents"
        )
    return text, text.token_labels[name]


def reordered(tokens: Tokens, order: Tensor) -> Tokens:
    """The tokens permuted within their sequences; positions and segments stay in place.

    Args:
        tokens: of any number of sequences.
        order: source row of each row, [T].
    """
    return replace(
        tokens,
        ids=tokens.ids[order],
        languages=None if tokens.languages is None else tokens.languages[order],
        mask_groups=None if tokens.mask_groups is None else tokens.mask_groups[order],
        token_labels=None
        if tokens.token_labels is None
        else {name: labels[order] for name, labels in tokens.token_labels.items()},
    )


def labelled_pairs(name: str) -> str:
    """The need of an objective on labelled text pairs, see :class:`~mm_kptm.objectives.spec.Offers`."""
    return f"pairs of texts labelled for {name}"


def _labelled(name: str) -> ObjectiveSpec:
    def build(context: ObjectiveContext) -> PairClassification:
        return PairClassification(name, len(context.offered(labelled_pairs(name))))

    return ObjectiveSpec(name, _ERNIE2, build, needs=(labelled_pairs(name),))


_ERNIE2 = "Sun et al. 2020, ERNIE 2.0: A Continual Pre-Training Framework for Language Understanding, AAAI"

NEXT_SENTENCE = ObjectiveSpec(
    "next-sentence",
    "Devlin et al. 2019, BERT, NAACL, section 3.1, task 2",
    lambda context: NextSentence(**context.arguments),
    needs=(DOCUMENTS,),
)
SENTENCE_ORDER = ObjectiveSpec(
    "sentence-order",
    "Lan et al. 2020, ALBERT, ICLR, section 3.1",
    lambda context: SentenceOrder(**context.arguments),
    needs=(DOCUMENTS,),
)
SENTENCE_REORDERING = ObjectiveSpec(
    "sentence-reordering",
    f"{_ERNIE2}, section 4.2.2",
    lambda context: SentenceReordering(**context.arguments),
    needs=(DOCUMENTS,),
)
SENTENCE_DISTANCE = ObjectiveSpec(
    "sentence-distance",
    f"{_ERNIE2}, section 4.2.2",
    lambda context: PairClassification("sentence-distance"),
    needs=(DOCUMENTS,),
)
DISCOURSE_RELATION = _labelled("discourse-relation")
IR_RELEVANCE = _labelled("ir-relevance")
