"""Languages of a loaded encoder keep the ids that it was trained with."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from mm_kptm.datasets.pretraining.multilingual_text import MultilingualText
from mm_kptm.datasets.settings import check_languages
from mm_kptm.errors import UserError

PUBLISHED = ("ar", "de", "en")


def data(languages: tuple[str, ...] = ()) -> MultilingualText:
    return MultilingualText(
        name="multilingual-text", vocabulary=Path("vocab.txt"), train={"de-en": Path("ted")}, languages=languages
    )


def test_languages_numbered_anew_are_refused_for_published_weights() -> None:
    message = r"embeds the languages ar, de, en, .* taken by others \(de of ar, en of de\); set data.languages to those"
    with pytest.raises(UserError, match=message):
        check_languages(data(), PUBLISHED, 3)


def test_the_order_of_the_encoder_may_be_said_or_be_equal() -> None:
    check_languages(data(PUBLISHED), PUBLISHED, 3)
    check_languages(data(), ("de", "en", "fr"), 3)
    check_languages(data(), PUBLISHED, 2)  # an encoder with languages of its own
    check_languages(SimpleNamespace(), PUBLISHED, 3)  # data without languages
