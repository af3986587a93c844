"""Named entity recognition by tagging words.

Shapes: B sentences, L labelled rows of a batch, C tags.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mm_kptm.batch import Encoded, Inputs, OutputRows
from mm_kptm.data.packing import Packed
from mm_kptm.preprocessing.inputs import InputSource
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.system import System
from mm_kptm.tasks.example import Example, ExampleBatch, Row, prediction
from mm_kptm.tasks.heads import ChosenHead, Heads, requested_heads
from mm_kptm.tasks.labelling import not_among
from mm_kptm.tasks.metrics.chunks import chunk_scores
from mm_kptm.tasks.metrics.tagging import ON_FACT, OUTSIDE, PADDING, begins, exact, untyped
from mm_kptm.tasks.protocol import Task
from mm_kptm.tasks.scores import finite_scores

SPECIAL = (PADDING, ON_FACT)  #: stand before the tags of the data, as in K-BERT's heads; the first is never given
NO_WORD, FACT = -2, -1  #: pieces that begin no word, and pieces of facts, among the numbers of words
IGNORED = -1  #: the truth of a word whose tag is not known
PART = "#"  #: between the id of a sentence and the number of a part of it
BLANK = " "  #: between the tags of a sentence in a line of predictions


@dataclass(frozen=True, eq=False)
class TaggedTexts(ExampleBatch):
    """Some sentences with the rows that are labelled."""

    inputs: Inputs
    rows: Tensor  #: the first piece of every word, and every piece of a fact, [L]
    truth: Tensor  #: tag index of each row, :data:`IGNORED` where unknown, [L]
    words: Tensor  #: word index of each row in its sentence, -1 on facts, [L]
    sequence_ids: Tensor  #: the sentence of each row, [L]
    about: tuple[Example, ...]
    lengths: tuple[int, ...]  #: words of each sentence, truncated ones included


@dataclass(frozen=True, eq=False)
class TaggedSource:
    """Sentences with tags.

    Args:
        shown: the sentences.
        marks: columns ``words`` and ``truth`` per piece: index of the word that a piece starts (or :data:`FACT`, or
            :data:`NO_WORD`), and index of its tag.
        about: metadata of each sentence; the target is its tags.
        sizes: words of each sentence.
    """

    shown: InputSource
    marks: Packed
    about: tuple[Example, ...]
    sizes: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.about)

    def length(self, index: int) -> int:
        """Tokens of a sentence."""
        return self.shown.length(index)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> TaggedTexts:
        """The sentences of the given indices."""
        columns, lengths = self.marks.take(indices)
        words, truth = (torch.from_numpy(columns[name].astype(np.int64)) for name in ("words", "truth"))
        rows = (words > NO_WORD).nonzero().squeeze(1)
        sequence_ids = torch.repeat_interleave(torch.arange(len(indices)), torch.tensor(lengths))
        return TaggedTexts(
            inputs=self.shown.batch(indices, generator),
            rows=rows,
            truth=truth[rows],
            words=words[rows],
            sequence_ids=sequence_ids[rows],
            about=tuple(self.about[index] for index in indices),
            lengths=tuple(self.sizes[index] for index in indices),
        )


class NamedEntities(Task[TaggedTexts]):
    """Tagging of the words of a sentence (Liu et al. 2020, K-BERT, section 4.4).

    Pieces of injected facts have a separate tag, which is learnt and never predicted for a word; the head
    ``token-classifier``, as transformers has it, knows the tags of the data alone and passes facts over.

    Args:
        system: uses its head ``tagger``, or ``token-classifier``; without one, dropout and a new linear layer on every
            state.
        tags: tags of the data, in the order of the logits, after :data:`SPECIAL` unless the head is plain.
        dropout: before a new head.

    Raises:
        UserError: the head has another number of tags.
    """

    name = "named-entities"
    needs = frozenset({"text"})
    HEADS = ("tagger",)
    PLAIN = "token-classifier"  #: head of the tags of the data alone

    def __init__(self, system: System, tags: Sequence[str], *, dropout: float = 0.1) -> None:
        super().__init__(system)
        self.drop = nn.Dropout(dropout)
        self.head = ChosenHead(
            system, (*self.HEADS, self.PLAIN), lambda: nn.Linear(system.dim, len(SPECIAL) + len(tags))
        )
        self.special = () if self.head.name == self.PLAIN else SPECIAL  #: tags before those of the data
        self.tags = (*self.special, *tags)
        self.head.check_width(system, len(self.tags), what="tags", size="num_classes")
        self.head.take_labels(system, self.tags)

    @classmethod
    def heads(cls, recipe: Recipe, num_tags: int, *, facts: bool = False) -> Heads:
        """The heads to ask of :func:`mm_kptm.build` or :func:`mm_kptm.load`.

        Args:
            recipe: of the system.
            num_tags: of the data.
            facts: whether facts are injected between the words, which the plain head has no tag for.
        """
        with_facts = requested_heads(recipe, cls.HEADS, {"num_classes": num_tags + len(SPECIAL)})
        if with_facts or facts:
            return with_facts
        return requested_heads(recipe, (cls.PLAIN,), {"num_classes": num_tags})

    def unseen_labels(self, rows: Sequence[Row]) -> Mapping[str, int]:
        """The gold tags that training never saw, by how many sentences have them."""
        return not_among(self.tags, (str(row["target"]).split(BLANK) for row in rows))

    def forward(self, inputs: Inputs, rows: Tensor) -> Tensor:
        """Logits of the tags at the given rows, [L, C]."""
        encoded: Encoded = self.system(inputs, OutputRows({"text": rows}, pooled=False))
        return self.head.of(self.system)(self.drop(encoded.text))

    def loss(self, batch: TaggedTexts) -> Tensor:
        """Cross-entropy, averaged over all labelled rows of the batch, facts included, as in the released code."""
        truth = self._truth(batch)
        known = truth != IGNORED
        losses = F.cross_entropy(self(batch.inputs, batch.rows)[known], truth[known], reduction="none")
        return losses.mean() if len(losses) else losses.sum()

    @torch.no_grad()
    def measure(self, batch: TaggedTexts) -> dict[str, Tensor]:
        """Tag accuracy and loss of each sentence; truncated words count as wrong."""
        scores = self.scores(batch)
        on_words = batch.words >= 0
        sequence_ids, truth = batch.sequence_ids[on_words], self._truth(batch)[on_words]
        losses = F.cross_entropy(scores[on_words], truth, ignore_index=IGNORED, reduction="none")
        lengths = torch.tensor(batch.lengths, device=scores.device)
        loss = torch.zeros(len(batch), device=scores.device).index_add(0, sequence_ids, losses) / lengths
        pairs = zip(batch.about, self._tags(scores, batch), strict=True)
        accuracy = torch.tensor([_share_right(tags, about) for about, tags in pairs], device=scores.device)
        return {"accuracy": accuracy, "loss": loss}

    @torch.no_grad()
    def predict(self, batch: TaggedTexts) -> list[Row]:
        """Predicted tags of every sentence, and the number of entities predicted to start inside facts."""
        scores = self.scores(batch)
        on_facts = [0] * len(batch)
        columns = (batch.sequence_ids.tolist(), batch.words.tolist(), scores.argmax(dim=1).tolist())
        for owner, word, best in zip(*columns, strict=True):
            on_facts[owner] += word == FACT and bool(self.special) and begins(self.tags[best])
        counted = zip(batch.about, self._tags(scores, batch), on_facts, strict=True)
        return [self.row(about, tags, spurious) for about, tags, spurious in counted]

    def row(self, about: Example, tags: Sequence[str], on_facts: int) -> Row:
        """A line of the predictions; ``correct`` is the share of words whose predicted tag is the gold one."""
        right = _share_right(tags, about)
        return prediction(about, BLANK.join(tags), correct=right, names_on_facts=float(on_facts))

    def summary(self, rows: Sequence[Row]) -> dict[str, float]:
        """Entity precision, recall and F1: exact typed spans, by seqeval's rules, and by K-BERT's untyped one."""
        pairs = sentences_of(rows)
        spurious = sum(int(float(row["names_on_facts"])) for row in rows)
        chunks = chunk_scores([given for given, _ in pairs], [gold for _, gold in pairs])
        return {**exact(pairs), "seqeval-f1": chunks["f1"] / 100, **untyped(pairs, spurious)}

    def scores(self, batch: TaggedTexts) -> Tensor:
        """The score of every tag at the labelled rows, [L, C]; ``UserError`` where one is not finite."""
        return finite_scores(self(batch.inputs, batch.rows), "tags")

    def _tags(self, scores: Tensor, batch: TaggedTexts) -> list[list[str]]:
        """The tags of every sentence, one a word: O where a word has no piece, or was cut off."""
        tags = [[OUTSIDE] * length for length in batch.lengths]
        columns = (batch.sequence_ids.tolist(), batch.words.tolist(), self._best(scores).tolist())
        for owner, word, best in zip(*columns, strict=True):
            if word != FACT:
                tags[owner][word] = self.tags[best]
        return tags

    def _best(self, scores: Tensor) -> Tensor:
        """The best tag of the data, [L]."""
        return scores[:, len(self.special) :].argmax(dim=1) + len(self.special)

    def _truth(self, batch: TaggedTexts) -> Tensor:
        """The gold tag of every row among those of the head, [L]; :data:`IGNORED` where it has none."""
        return (batch.truth - (len(SPECIAL) - len(self.special))).clamp(min=IGNORED)


def sentences_of(rows: Sequence[Row]) -> list[tuple[list[str], list[str]]]:
    """Predicted and gold tags of every sentence; parts of a long one are joined in their order."""
    found: dict[str, tuple[list[str], list[str]]] = {}
    for row in rows:
        given, gold = found.setdefault(str(row["id"]).partition(PART)[0], ([], []))
        given += str(row["answer"]).split()
        gold += str(row["target"]).split()
    return list(found.values())


def _share_right(tags: Sequence[str], about: Example) -> float:
    """The share of words that have their gold tag; 0 where there are no gold tags."""
    gold = about.target.split(BLANK)
    return sum(one == other for one, other in zip(tags, gold, strict=False)) / len(tags)
