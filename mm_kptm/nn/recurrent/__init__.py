"""Recurrent layers on ragged rows: stacked LSTM, quasi-recurrent layers."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.nn.recurrent.lstm import Lstm
    from mm_kptm.nn.recurrent.qrnn import QrnnLayer, SequenceDropout
else:
    __getattr__ = lazy(__name__, {"lstm": ["Lstm"], "qrnn": ["QrnnLayer", "SequenceDropout"]})

__all__ = ["Lstm", "QrnnLayer", "SequenceDropout"]
