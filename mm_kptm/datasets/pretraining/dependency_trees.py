"""Dependency trees as pretraining data (K-Adapter's linguistic adapter)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from mm_kptm.data.formats.conllu import ROOT, ParsedSentence, read_conllu
from mm_kptm.data.packing import Packed
from mm_kptm.data.tokenizers.protocol import Tokenizer, framed
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.datasets.settings import SplitFiles
from mm_kptm.knowledge.objectives.mention_classification import DEPENDENCY_TREES, DependencyHead
from mm_kptm.objectives.mixture import Mixture, Objectives
from mm_kptm.objectives.spec import TEXTS, Offers
from mm_kptm.preprocessing.inputs import MARK, InputSource
from mm_kptm.tasks.pretraining import ObjectiveSource, heads_of

NO_HEAD = -1


@dataclass(frozen=True, kw_only=True)
class DependencyTrees(SplitFiles):
    """CoNLL-U files of Universal Dependencies."""

    name: Literal["dependency-trees"]
    mask_rate: float = 0.15  #: the share of tokens that is masked, where an objective masks some


def pretraining(data: DependencyTrees, request: DataRequest) -> PreparedData:
    """Sentences in the order of the file."""
    tokenizer = data.tokenizer()
    offers = Offers(data.name, {TEXTS: None, DEPENDENCY_TREES: None})
    objectives = request.built_objectives(offers, tokenizer, data.mask_rate)

    def source(split: str) -> ObjectiveSource:
        return ObjectiveSource(
            parsed(read_conllu(data.files[split]), tokenizer, data.max_length), Objectives(objectives)
        )

    return PreparedData(
        sources={split: partial(source, split) for split in data.files},
        model=lambda system: Mixture(system, objectives, request.objectives),
        sizes={"vocab_size": len(tokenizer)},
        heads=heads_of(objectives),
        fingerprints=data.fingerprints,
    )


def parsed(sentences: Sequence[ParsedSentence], tokenizer: Tokenizer, max_length: int) -> InputSource:
    """Sentences whose words know, at their first piece, the place of the first piece of the word that governs them.

    The root's place is that of the first special token. A word whose governor was cut off is not asked about, nor is
    the root's where no special token stands in front.
    """
    ids, places = [], []
    opens, room = int(tokenizer.specials.opens), max_length - tokenizer.specials.around(1)
    for sentence in sentences:
        pieces = [tokenizer.encode(f" {word}").ids for word in sentence.words]
        firsts, end = [0], opens  # the special token before the words represents the root
        for piece in pieces:
            firsts.append(end)
            end += len(piece)
        flat = [token for piece in pieces for token in piece][:room]
        marks = [NO_HEAD] * (opens + len(flat) + 1)
        for word, head in enumerate(sentence.heads, 1):
            governed = pieces[head - 1] if head != ROOT else opens
            if pieces[word - 1] and governed and max(firsts[word], firsts[head]) < opens + len(flat):
                marks[firsts[word]] = firsts[head]
        ids.append(framed(tokenizer.specials, flat)[0])
        places.append(marks)
    columns = {f"{MARK}{DependencyHead.name}": places}
    return InputSource(Packed.of(ids=ids, positions=[range(len(one)) for one in ids], **columns))


PRETRAINING_SUPPLY = TaskDataset(None, DependencyTrees, pretraining)
