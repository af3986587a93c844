"""Published datasets of pictures and many languages, as in IGLUE: XVNLI, xGQA, MaRVL, xFlickr&CO."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.datasets.multilingual_vision.marvl import MarvlData
    from mm_kptm.datasets.multilingual_vision.xflickrco import XflickrcoData
    from mm_kptm.datasets.multilingual_vision.xgqa import XgqaData
    from mm_kptm.datasets.multilingual_vision.xvnli import XvnliData
else:
    __getattr__ = lazy(
        __name__,
        {"marvl": ["MarvlData"], "xflickrco": ["XflickrcoData"], "xgqa": ["XgqaData"], "xvnli": ["XvnliData"]},
    )

__all__ = ["MarvlData", "XflickrcoData", "XgqaData", "XvnliData"]
