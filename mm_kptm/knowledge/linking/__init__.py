"""Entity linking without a network: name dictionaries, mention detection, priors, linked texts."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.knowledge.linking.aliases import Alias, Aliases, open_aliases
    from mm_kptm.knowledge.linking.candidates import CandidateSpan, NameDictionary, read_names
    from mm_kptm.knowledge.linking.importers import read_imported
    from mm_kptm.knowledge.linking.linked_texts import Candidate, Link, LinkedText, read_linked, write_linked
    from mm_kptm.knowledge.linking.linker import MentionLinker
    from mm_kptm.knowledge.linking.mention_index import MentionIndex
    from mm_kptm.knowledge.linking.segmenter import Segmenter
else:
    __getattr__ = lazy(
        __name__,
        {
            "aliases": ["Alias", "Aliases", "open_aliases"],
            "candidates": ["CandidateSpan", "NameDictionary", "read_names"],
            "importers": ["read_imported"],
            "linked_texts": ["Candidate", "Link", "LinkedText", "read_linked", "write_linked"],
            "linker": ["MentionLinker"],
            "mention_index": ["MentionIndex"],
            "segmenter": ["Segmenter"],
        },
    )

__all__ = [
    "Alias",
    "Aliases",
    "Candidate",
    "CandidateSpan",
    "Link",
    "LinkedText",
    "MentionIndex",
    "MentionLinker",
    "NameDictionary",
    "Segmenter",
    "open_aliases",
    "read_imported",
    "read_linked",
    "read_names",
    "write_linked",
]
