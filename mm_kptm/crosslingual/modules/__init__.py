"""Language-dependent modules: decoders with per-language parameters."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.crosslingual.modules.language_decoder import (
        LanguageDecoder,
        LanguageDecoderLayer,
        PerLanguageAttention,
        PerLanguageLinear,
    )
else:
    __getattr__ = lazy(
        __name__,
        {
            "language_decoder": [
                "LanguageDecoder",
                "LanguageDecoderLayer",
                "PerLanguageAttention",
                "PerLanguageLinear",
            ],
        },
    )

__all__ = ["LanguageDecoder", "LanguageDecoderLayer", "PerLanguageAttention", "PerLanguageLinear"]
