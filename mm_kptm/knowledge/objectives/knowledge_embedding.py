"""Knowledge embedding with a text encoder: entity vectors are encoded descriptions (Wang et al. 2021, KEPLER).

Shapes: B triples, N negative heads and N negative tails each, K distinct texts of a batch, D dim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from mm_kptm.batch import POOLED_ONLY, Encoded, Inputs, Movable, Tokens
from mm_kptm.data.packing import Packed
from mm_kptm.data.tokenizers.protocol import Specials, framed
from mm_kptm.errors import UserError
from mm_kptm.knowledge.embedding.negatives import Contrasted, FilteredNegatives
from mm_kptm.knowledge.embedding.transe import TransEScore
from mm_kptm.knowledge.graph.indexed_triple import IndexedTriple, TripleRows, as_rows
from mm_kptm.objectives.spec import ObjectiveSpec
from mm_kptm.systems.system import System

Text = Sequence[int]

DESCRIBED_TRIPLES = "triples between described entities"  #: what a dataset offers: a :class:`DescribedGraph`
RELATIONS = ("table", "conditioned", "described")  #: encodings of relations, see :class:`DescribedGraph`


@dataclass(frozen=True, eq=False)
class DescribedTriples(Movable):
    """Batch of triples with entities as texts; every distinct text is encoded once.

    All fields but ``relations`` are indices of texts.
    """

    texts: Inputs  #: K texts, in order of length
    relations: Tensor  #: rows of the relation table, [B]
    heads: Tensor  #: [B]
    tails: Tensor  #: [B]
    told_heads: Tensor  #: the head, followed by the relation's text if conditioned, [B]
    told_tails: Tensor  #: [B]
    false_heads: Tensor  #: [B, N]
    false_tails: Tensor  #: [B, N]
    relation_texts: Tensor | None = None  #: in place of the relation table, [B]

    @classmethod
    def of(
        cls,
        relations: Sequence[int],
        *,
        heads: Sequence[Text],
        tails: Sequence[Text],
        false_heads: Sequence[Sequence[Text]],
        false_tails: Sequence[Sequence[Text]],
        told_heads: Sequence[Text] | None = None,
        told_tails: Sequence[Text] | None = None,
        relation_texts: Sequence[Text] | None = None,
    ) -> DescribedTriples:
        """Collate texts of token ids, special tokens included; ``told_*`` default to the plain texts."""
        told_heads = heads if told_heads is None else told_heads
        told_tails = tails if told_tails is None else told_tails
        plain = [heads, tails, told_heads, told_tails, [] if relation_texts is None else relation_texts]
        false = [texts for rows in (false_heads, false_tails) for texts in rows]
        distinct = {tuple(text) for texts in (*plain, *false) for text in texts}
        ordered = sorted(distinct, key=lambda text: (len(text), text))
        number = {text: place for place, text in enumerate(ordered)}

        def places(texts: Sequence[Text]) -> Tensor:
            return torch.tensor([number[tuple(text)] for text in texts], dtype=torch.long)

        def grid(rows: Sequence[Sequence[Text]]) -> Tensor:
            return torch.stack([places(texts) for texts in rows])

        return cls(
            texts=Inputs(text=Tokens.of(ordered)),
            relations=torch.tensor(relations, dtype=torch.long),
            heads=places(heads),
            tails=places(tails),
            told_heads=places(told_heads),
            told_tails=places(told_tails),
            false_heads=grid(false_heads),
            false_tails=grid(false_tails),
            relation_texts=None if relation_texts is None else places(relation_texts),
        )

    def __len__(self) -> int:
        return len(self.relations)


class DescribedGraph:
    """Triples by id, with the texts of their entities and relations.

    Relations are encoded in one of three ways (Wang et al. 2021, section 3.2): by the ``table`` alone;
    ``conditioned``, where the relation's text follows the entity's if the other entity is a plain text, and the table
    is used all the same; or ``described``, where the encoded text of the relation replaces the table.

    Args:
        triples: training triples, or their numbers, [M, 3].
        texts: token ids of every entity's text, without special tokens; or packed, in a column ``ids``.
        specials: ids of the special tokens.
        known: more true triples, which are not used as negatives.
        relations: one of :data:`RELATIONS`.
        relation_texts: token ids of every relation's text, for ``conditioned`` and ``described``.
        max_length: maximum number of tokens of a text, special ones included; an eighth of that for a relation
            alone. Truncation may remove the closing token, as in the released code.

    Raises:
        UserError: there are no triples, the relation encoding is unknown, relation texts are missing, or a triple
            has an entity or a relation without a text.
    """

    def __init__(
        self,
        triples: Sequence[IndexedTriple] | NDArray[np.integer],
        texts: Sequence[Text] | Packed,
        specials: Specials,
        *,
        known: Sequence[IndexedTriple] | NDArray[np.integer] = (),
        relations: str = "table",
        relation_texts: Sequence[Text] | None = None,
        max_length: int = 512,
    ) -> None:
        if relations not in RELATIONS:
            raise UserError(f"relations are read as {', '.join(RELATIONS)}, not as {relations!r}")
        if relations != "table" and relation_texts is None:
            raise UserError(f"{relations} relations are texts, but relation_texts were not given")
        self.triples = TripleRows(as_rows(triples))
        _check(self.triples.rows, len(texts), None if relation_texts is None else len(relation_texts))
        self.relations = relations
        self._max_length = max_length
        self._texts = texts if isinstance(texts, Packed) else Packed.of(ids=texts)
        self._relations = [tuple(framed(specials, text)[0]) for text in relation_texts or ()]
        self._specials = specials
        everything = np.concatenate([self.triples.rows, more]) if len(more := as_rows(known)) else self.triples.rows
        self._negatives = FilteredNegatives(everything, len(texts))

    @property
    def num_relations(self) -> int:
        """Number of relations: the highest id plus one."""
        return 1 + int(self.triples.rows[:, 1].max())

    def __len__(self) -> int:
        return len(self.triples)

    def batch(self, numbers: Sequence[int], negatives: int, generator: torch.Generator) -> DescribedTriples:
        """Collate the triples with these indices, each with freshly sampled negatives."""

        def draw(count: int) -> list[int]:
            return torch.randint(len(self._texts), (count,), generator=generator).tolist()

        return self.described([self._negatives(self.triples[number], negatives, draw) for number in numbers])

    def length(self, number: int) -> int:
        """Number of tokens of the texts of a triple's head and tail."""
        triple = self.triples[number]
        lengths = self._texts.lengths[[triple.head, triple.tail]] + self._specials.around(1)
        return int(np.minimum(lengths, self._max_length).sum())

    @property
    def lengths(self) -> NDArray[np.int64]:
        """:meth:`length` of every triple, [M]."""
        lengths = np.minimum(self._texts.lengths + self._specials.around(1), self._max_length)
        return np.asarray(lengths[self.triples.rows[:, 0]] + lengths[self.triples.rows[:, 2]], dtype=np.int64)

    def entities(self, numbers: Sequence[int]) -> Inputs:
        """Texts of entities, in the given order."""
        return Inputs(text=Tokens.of([self._entity(number) for number in numbers]))

    def described(self, examples: Sequence[Contrasted]) -> DescribedTriples:
        """Collate triples whose negatives are already sampled."""
        triples = [example.triple for example in examples]
        conditioned, described = (self.relations == way for way in RELATIONS[1:])
        return DescribedTriples.of(
            [triple.relation for triple in triples],
            heads=[self._entity(triple.head) for triple in triples],
            tails=[self._entity(triple.tail) for triple in triples],
            false_heads=[[self._entity(entity) for entity in example.false_heads] for example in examples],
            false_tails=[[self._entity(entity) for entity in example.false_tails] for example in examples],
            told_heads=[self._conditioned(triple.head, triple.relation) for triple in triples] if conditioned else None,
            told_tails=[self._conditioned(triple.tail, triple.relation) for triple in triples] if conditioned else None,
            relation_texts=[self._relation(triple.relation) for triple in triples] if described else None,
        )

    def _text(self, number: int) -> tuple[int, ...]:
        first, end = self._texts.offsets[number : number + 2]
        # what is cut off is not read
        ids = self._texts.columns["ids"][first : min(end, first + self._max_length)].tolist()
        return tuple(framed(self._specials, ids)[0])

    def _entity(self, number: int) -> tuple[int, ...]:
        return self._text(number)[: self._max_length]

    def _relation(self, number: int) -> tuple[int, ...]:
        return self._relations[number][: self._max_length // 8]

    def _conditioned(self, entity: int, relation: int) -> tuple[int, ...]:
        words = self._relations[relation][self._specials.opens :]
        return (*self._text(entity), self._specials.stop, *words)[: self._max_length]


class KnowledgeEmbedding:
    r"""Score true triples above negatives, with the system's head of that name (Wang et al. 2021, eq. 3).

    .. math::
        -\tfrac12 \log \sigma(s(h, r, t))
        - \tfrac1{4N} \sum_i \left( \log \sigma(-s(h'_i, r, t)) + \log \sigma(-s(h, r, t'_i)) \right)

    As in the released code the positive score is the mean of two, one with the conditioned head and one with the
    conditioned tail, and a negative entity is scored against the conditioned entity of the other side.

    Args:
        graph: graph with the triples.
        negatives: number of negative heads and of negative tails, N.
    """

    name = "knowledge-embedding"

    def __init__(self, graph: DescribedGraph, *, negatives: int = 1) -> None:
        if negatives < 1:
            raise UserError(f"a triple is scored against negatives, so negatives must be at least 1, not {negatives}")
        self.graph = graph
        self.negatives = negatives
        self.sizes = {"num_relations": graph.num_relations}

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> DescribedTriples:
        """Sample as many triples as there are examples; the inputs are not used."""
        numbers = torch.randint(len(self.graph), (len(inputs),), generator=generator)
        return self.graph.batch(numbers.tolist(), self.negatives, generator)

    def losses(self, system: System, batch: DescribedTriples) -> Tensor:
        """Loss of every triple, [B]."""
        return contrast(*scores(system, batch))

    def loss(self, system: System, batch: DescribedTriples) -> Tensor:
        """Mean loss over triples."""
        return self.losses(system, batch).mean()

    def measure(self, system: System, batch: DescribedTriples) -> Tensor:
        """Loss of each triple, [B]."""
        return self.losses(system, batch)


def scores(system: System, triples: DescribedTriples) -> tuple[Tensor, Tensor]:
    """Scores as in :func:`scores_by`, with the system's head of the objective's name."""
    return scores_by(cast(TransEScore, system.head(KnowledgeEmbedding.name)), system, triples)


def scores_by(head: TransEScore, system: System, triples: DescribedTriples) -> tuple[Tensor, Tensor]:
    """Scores of the triples, [B], and of their negatives, heads before tails, [B, 2 N]."""
    encoded: Encoded = system(triples.texts, POOLED_ONLY)
    states = encoded.pooled
    texts = triples.relation_texts
    relations = head.relation(triples.relations) if texts is None else states[texts]
    told_heads, told_tails = states[triples.told_heads], states[triples.told_tails]
    forward = head(told_heads, relations, states[triples.tails])
    backward = head(states[triples.heads], relations, told_tails)
    false = (
        head(states[triples.false_heads], relations[:, None], told_tails[:, None]),
        head(told_heads[:, None], relations[:, None], states[triples.false_tails]),
    )
    return (forward + backward) / 2, torch.cat(false, dim=1)


def contrast(true: Tensor, false: Tensor) -> Tensor:
    """Loss of every triple, [B], from its score [B] and those of its negatives [B, 2 N]."""
    return -(F.logsigmoid(true) + F.logsigmoid(-false).mean(dim=1)) / 2


def _check(rows: NDArray[np.integer], entities: int, relations: int | None) -> None:
    if not len(rows):
        raise UserError("there is no triple to learn from")
    wrong = (rows[:, ::2] < 0) | (rows[:, ::2] >= entities)
    if wrong.any():
        triple = tuple(rows[int(np.flatnonzero(wrong.any(axis=1))[0])].tolist())
        raise UserError(
            f"the triple {triple} is about an entity without a text; there are texts of {entities} entities"
        )
    if relations is not None and ((rows[:, 1] < 0) | (rows[:, 1] >= relations)).any():
        triple = tuple(rows[int(np.flatnonzero((rows[:, 1] < 0) | (rows[:, 1] >= relations))[0])].tolist())
        raise UserError(f"the triple {triple} has a relation without a text; there are texts of {relations} relations")


KNOWLEDGE_EMBEDDING = ObjectiveSpec(
    KnowledgeEmbedding.name,
    "Wang et al. 2021, KEPLER, TACL, section 3.2",
    lambda context: KnowledgeEmbedding(context.offered(DESCRIBED_TRIPLES), **context.arguments),
    needs=(DESCRIBED_TRIPLES,),
)
