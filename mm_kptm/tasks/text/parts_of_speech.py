"""Universal parts of speech of the words of a sentence."""

from __future__ import annotations

from collections.abc import Sequence

from mm_kptm.tasks.example import Row
from mm_kptm.tasks.metrics.chunks import chunk_scores
from mm_kptm.tasks.text.tagging import NamedEntities, sentences_of


class PartsOfSpeech(NamedEntities):
    """Part-of-speech tagging (Nivre et al. 2016, Universal Dependencies; Hu et al. 2020, XTREME).

    XTREME's score is the F1 of runs of equal tags, by seqeval; it is not the accuracy of tags, which stands beside it.
    """

    name = "parts-of-speech"

    def summary(self, rows: Sequence[Row]) -> dict[str, float]:
        """F1 of runs of equal tags as XTREME has it, and the share of right tags."""
        pairs = sentences_of(rows)
        right = sum(one == other for given, gold in pairs for one, other in zip(given, gold, strict=True))
        found = chunk_scores([given for given, _ in pairs], [gold for _, gold in pairs])
        return {"chunk-f1": found["f1"] / 100, "tag-accuracy": right / sum(len(gold) for _, gold in pairs)}
