"""Published text datasets: those of XTREME, Open Entity, FIGER, TACRED, FewRel, K-BERT's tables, aligned files."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.datasets.text.bucc import BuccData
    from mm_kptm.datasets.text.mention_datasets import FewRelData, FigerData, OpenEntityData, TacredData
    from mm_kptm.datasets.text.mlqa import MlqaData
    from mm_kptm.datasets.text.moses_pairs import MosesPairs
    from mm_kptm.datasets.text.pan_x import PanXData
    from mm_kptm.datasets.text.paws_x import PawsXData
    from mm_kptm.datasets.text.tatoeba import TatoebaData
    from mm_kptm.datasets.text.tydiqa import TydiqaData
    from mm_kptm.datasets.text.ud_pos import UdPosData
    from mm_kptm.datasets.text.uer_tsv import KbertData
    from mm_kptm.datasets.text.xnli import XnliData
    from mm_kptm.datasets.text.xquad import XquadData
else:
    __getattr__ = lazy(
        __name__,
        {
            "bucc": ["BuccData"],
            "pan_x": ["PanXData"],
            "paws_x": ["PawsXData"],
            "tatoeba": ["TatoebaData"],
            "ud_pos": ["UdPosData"],
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
    "BuccData",
    "FewRelData",
    "FigerData",
    "KbertData",
    "MlqaData",
    "MosesPairs",
    "OpenEntityData",
    "PanXData",
    "PawsXData",
    "TacredData",
    "TatoebaData",
    "TydiqaData",
    "UdPosData",
    "XnliData",
    "XquadData",
]
