"""Word senses: candidate WordNet synsets of a word with frequency priors (Peters et al. 2019, section 4.1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mm_kptm.errors import UserError
from mm_kptm.io.records import read_line
from mm_kptm.io.text_lines import numbered_lines
from mm_kptm.knowledge.linking.candidates import CandidateSpan, spans_up_to

Lemmatiser = Callable[[Sequence[str]], Sequence[str]]  #: from the words of a text to their lemmas, one each


class Lemma(NamedTuple):
    """Lemma in one of its senses."""

    synset: str
    id: str
    part_of_speech: str
    times: int  #: that it was meant in annotated texts


@dataclass(frozen=True)
class SenseList:
    """Senses of strings, where lemmas have spaces in place of underscores and hyphens."""

    senses: Mapping[str, tuple[Lemma, ...]]

    @classmethod
    def open(cls, path: str | Path) -> SenseList:
        """Open KnowBERT's ``entities.jsonl``: an object per line, of which those of type ``lemma`` are read.

        Raises:
            UserError: no such file, or a line is no such object.
        """
        path = Path(path)
        if not path.is_file():
            raise UserError(f"lemmas were looked for in {path}, but there is no such file")
        senses: dict[str, list[Lemma]] = {}
        for place, line in numbered_lines(path):
            entity = read_line(line, f"{path}, line {place}")
            if entity.get("type", str) != "lemma":
                continue
            lemma = Lemma(entity.text("synset"), entity.text("id"), entity.text("pos"), entity.count("count"))
            string = lemma.id.partition("%")[0].replace("_", " ").replace("-", " ")
            senses.setdefault(string, []).append(lemma)
        return cls({string: tuple(found) for string, found in senses.items()})

    def likeliest(self, lemmas: Sequence[Lemma], most: int = 30, smoothing: float = 1) -> list[tuple[Lemma, float]]:
        """Most frequent senses with their smoothed priors."""
        kept = lemmas if len(lemmas) <= most else sorted(lemmas, key=lambda lemma: -lemma.times)[:most]
        total = sum(lemma.times + smoothing for lemma in kept)
        return [(lemma, (lemma.times + smoothing) / total) for lemma in kept]


def lower_case(words: Sequence[str]) -> list[str]:
    """Lower-cased words in place of lemmas; the released code uses spaCy's lemmatiser."""
    return [word.lower() for word in words]


@dataclass(frozen=True)
class SenseFinder:
    """Candidate generator of word senses: finds lemmas in a text.

    Args:
        senses: of all strings.
        lemmas: of the words of a text.
        longest: words of a span at most; the released code asks for 7 and counts to 6.
        most: senses of a span at most.
        smoothing: added to the count of each.
        surface: whether the words count as they are written, too.
    """

    senses: SenseList
    lemmas: Lemmatiser = lower_case
    max_length: int = 6
    most: int = 30
    smoothing: float = 1
    surface: bool = False

    def __call__(self, words: Sequence[str]) -> list[CandidateSpan]:
        """Candidate spans with senses, in order of their first word."""
        forms = [[lemma.lower().replace(".", "") for lemma in self.lemmas(words)]]
        if self.surface:
            forms.append([word.lower().replace(".", "") for word in words])
        spans = []
        for first, last in spans_up_to(len(words), self.max_length):
            strings = [form[first : last + 1] for form in forms]
            different = strings[:1] + [string for string in strings[1:] if string != strings[0]]
            found = [lemma for string in different for lemma in self._of(string)]
            if found:
                kept = self.senses.likeliest(found, self.most, self.smoothing)
                entities, priors = zip(*((lemma.synset, prior) for lemma, prior in kept), strict=True)
                spans.append(CandidateSpan(first, last, entities, priors))
        return spans

    def _of(self, words: Sequence[str]) -> Sequence[Lemma]:
        if "-" in (words[0], words[-1]):
            return ()
        return self.senses.senses.get(" ".join(word for word in words if word != "-"), ())
