"""Published text datasets: XNLI, Open Entity, FIGER, TACRED, FewRel, K-BERT's tables."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.datasets.text.mention_datasets import FewRelData, FigerData, OpenEntityData, TacredData
    from mm_kptm.datasets.text.mlqa import MlqaData
    from mm_kptm.datasets.text.moses_pairs import MosesPairs
    from mm_kptm.datasets.text.tydiqa import TydiqaData
    from mm_kptm.datasets.text.uer_tsv import KbertData
    from mm_kptm.datasets.text.xnli import XnliData
    from mm_kptm.datasets.text.xquad import XquadData
else:
    __getattr__ = lazy(
        __name__,
        {
            "moses_pairs": ["MosesPairs"],
            "mlqa": ["MlqaData"],
            "tydiqa": ["TydiqaData"],
            "xquad": ["XquadData"],
            "mention_datasets": ["FewRelData", "FigerData", "OpenEntityData", "TacredData"],
            "uer_tsv": ["KbertData"],
            "xnli": ["XnliData"],
        },
    )

__all__ = [
    "FewRelData",
    "FigerData",
    "KbertData",
    "MlqaData",
    "MosesPairs",
    "OpenEntityData",
    "TacredData",
    "TydiqaData",
    "XnliData",
    "XquadData",
]
