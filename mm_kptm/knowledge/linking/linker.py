"""Entity linker: prior of the name combined with the similarity of the context; below a threshold, no entity.

A linker that needs neither network nor training: candidates and priors of an alias dictionary, perhaps an encoder that
reads the text around a mention and what is known about its candidates, and a threshold below which a mention means
nothing. Equal scores are decided by the names of the entities.

Shapes: M mentions, K entities, D dim of the vectors.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from mm_kptm.errors import UserError
from mm_kptm.knowledge.linking.aliases import Aliases
from mm_kptm.knowledge.linking.linked_texts import Candidate, Link, LinkedText

Encode = Callable[[Sequence[str]], Tensor]  #: texts to vectors, [M, D]
EntityVectors = Callable[[Sequence[str]], Tensor]  #: names of entities to vectors, zero for one unknown, [K, D]

_AT_ONCE = 1 << 17  # characters of texts that are linked together
_REMEMBERED = 1 << 16  # descriptions whose vectors are kept
_DIGITS = 6  # of scores; what an encoder makes of a text beyond these changes with its neighbours


@dataclass(frozen=True)
class Context:
    """Context similarity of candidates: cosines between mention context and entity vectors, scaled to [0, 1].

    An entity without a vector fits neither well nor badly.
    """

    encode: Encode
    entities: EntityVectors
    window: int = 200  #: characters on either side of a mention

    def __call__(self, texts: Sequence[str], links: Sequence[Link]) -> list[tuple[float, ...]]:
        """Similarity of every candidate of every mention, in order."""
        if not links:
            return []
        names = sorted({one.entity for link in links for one in link.candidates})
        places = {name: place for place, name in enumerate(names)}
        around = F.normalize(self.encode([self._around(*pair) for pair in zip(texts, links, strict=True)]), dim=-1)
        vectors = F.normalize(self.entities(names), dim=-1)
        fits = []
        for row, link in zip(around, links, strict=True):
            cosines = vectors[[places[one.entity] for one in link.candidates]] @ row
            fits.append(tuple(((1 + cosines) / 2).tolist()))
        return fits

    def _around(self, text: str, link: Link) -> str:
        return text[max(0, link.start - self.window) : link.end + self.window]


def described(aliases: Aliases, encode: Encode, language: str | None = None) -> EntityVectors:
    """Entity vectors from descriptions, in the given language where available.

    Raises:
        UserError: nothing is described.
    """
    if not any(aliases.descriptions.values()):
        raise UserError(
            "an encoder is to read what candidates are described as, but nothing is; take a graph with descriptions, "
            "such as N-Triples with rdfs:comment or a folder of Wikidata5M, or leave the encoder out"
        )
    nothing = torch.zeros_like(encode(["nothing"])[0])
    kept: dict[str, Tensor] = {}

    def vectors(names: Sequence[str]) -> Tensor:
        if len(kept) > _REMEMBERED:
            kept.clear()
        texts = {name: text for name in names if name not in kept and (text := aliases.description(name, language))}
        if texts:
            kept.update(zip(texts, encode(list(texts.values())), strict=True))
        return torch.stack([kept.get(name, nothing) for name in names])

    return vectors


@dataclass(frozen=True)
class MentionLinker:
    """Finds mentions and links them to entities.

    A candidate's score is its prior, or where a context is read the mean of prior and fit, weighted.
    """

    aliases: Aliases
    language: str | None = None  #: of texts that do not say theirs; None looks for names of all languages
    threshold: float = 0.0  #: a mention whose best candidate scores less means nothing
    most: int = 30  #: candidates of a mention
    overlaps: bool = False  #: whether all mentions count, not the leftmost longest alone
    context: Context | None = None
    weight: float = 0.5  #: of the context

    def __post_init__(self) -> None:
        for name, value in (("threshold", self.threshold), ("weight", self.weight)):
            if not 0 <= value <= 1:
                raise UserError(f"the {name} of linking is {value:g}, but scores lie between 0 and 1")
        if self.most < 1:
            raise UserError(f"a mention was to have {self.most} candidates, but needs one at least")

    def __call__(self, texts: Sequence[LinkedText]) -> list[LinkedText]:
        """Link texts; mentions that they already have are ignored."""
        languages: dict[str | None, list[int]] = defaultdict(list)
        for place, text in enumerate(texts):
            languages[text.language or self.language].append(place)
        linked = list(texts)
        for language, places in languages.items():
            for place, links in zip(
                places, self._found([texts[place].text for place in places], language), strict=True
            ):
                linked[place] = replace(texts[place], language=language, mentions=links)
        return linked

    def stream(self, texts: Iterable[LinkedText]) -> Iterator[LinkedText]:
        """Link a stream of texts lazily; a few are in memory at a time."""
        held: list[LinkedText] = []
        size = 0
        for text in texts:
            held.append(text)
            size += len(text.text)
            if size >= _AT_ONCE:
                yield from self(held)
                held, size = [], 0
        yield from self(held)

    def _found(self, texts: Sequence[str], language: str | None) -> list[tuple[Link, ...]]:
        names = self.aliases.names(language)
        owners: list[int] = []
        links: list[Link] = []
        for owner, start, end, number in names.index.find(texts, overlaps=self.overlaps):
            priors = names.priors(number, texts[owner][start:end])[: self.most]
            owners.append(owner)
            links.append(Link(start, end, tuple(Candidate(name, share, share) for name, share in priors), None))
        if self.context is not None:
            fits = self.context([texts[owner] for owner in owners], links)
            links = [self._read(link, fit) for link, fit in zip(links, fits, strict=True)]
        found: list[list[Link]] = [[] for _ in texts]
        for owner, link in zip(owners, links, strict=True):
            found[owner].append(decided(link, self.threshold))
        return [tuple(one) for one in found]

    def _read(self, link: Link, fits: Sequence[float]) -> Link:
        candidates = [
            one._replace(score=round((1 - self.weight) * one.prior + self.weight * fit, _DIGITS))
            for one, fit in zip(link.candidates, fits, strict=True)
        ]
        return link._replace(candidates=tuple(sorted(candidates, key=lambda one: (-one.score, one.entity))))


def decided(link: Link, threshold: float = 0.0) -> Link:
    """Link a mention to its first candidate if that one's score reaches the threshold."""
    best = link.candidates[0] if link.candidates else None
    return link._replace(entity=best.entity if best is not None and best.score >= threshold else None)
