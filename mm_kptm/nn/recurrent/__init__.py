"""Recurrent layers on ragged rows: stacked BiLSTM, quasi-recurrent layers."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.nn.recurrent.lstm import BiLstm
    from mm_kptm.nn.recurrent.qrnn import QrnnLayer, SequenceDropout
else:
    __getattr__ = lazy(__name__, {"lstm": ["BiLstm"], "qrnn": ["QrnnLayer", "SequenceDropout"]})

__all__ = ["BiLstm", "QrnnLayer", "SequenceDropout"]
