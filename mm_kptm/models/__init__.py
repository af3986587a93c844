"""Model architectures: one stream, two streams, encoder and decoder; sentence embeddings and generation."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.models.decoding import Decoding, Request, generate
    from mm_kptm.models.generation import Writing, beam, greedy, sample
    from mm_kptm.models.sentence_embedding import MeanAtDepth, first_state, mean_state
    from mm_kptm.models.seq2seq import Seq2Seq
    from mm_kptm.models.single import SingleStream
    from mm_kptm.models.two_stream import TwoStream
else:
    __getattr__ = lazy(
        __name__,
        {
            "decoding": ["Decoding", "Request", "generate"],
            "generation": ["Writing", "beam", "greedy", "sample"],
            "sentence_embedding": ["MeanAtDepth", "first_state", "mean_state"],
            "seq2seq": ["Seq2Seq"],
            "single": ["SingleStream"],
            "two_stream": ["TwoStream"],
        },
    )

__all__ = [
    "Decoding",
    "MeanAtDepth",
    "Request",
    "Seq2Seq",
    "SingleStream",
    "TwoStream",
    "Writing",
    "beam",
    "first_state",
    "generate",
    "greedy",
    "mean_state",
    "sample",
]
