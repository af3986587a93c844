"""Parts of a module by their path."""

import pytest
from torch import nn

from mm_kptm.errors import UserError
from mm_kptm.nn.embeddings import TextEmbedding
from mm_kptm.nn.submodules import submodule

TEXT = TextEmbedding(9, 4, num_segments=0)


def test_a_part_is_the_one_of_the_module() -> None:
    assert submodule(TEXT, "word", nn.Embedding) is TEXT.word


def test_a_part_that_is_missing_or_of_another_class_is_named() -> None:
    with pytest.raises(UserError, match=r"^the Embedding sense is read, but this TextEmbedding has no such part$"):
        submodule(TEXT, "sense", nn.Embedding)
    with pytest.raises(UserError, match=r"^word of this TextEmbedding is read as Linear, but it is a Embedding$"):
        submodule(TEXT, "word", nn.Linear)
