"""Texts and pictures become vectors of one space through two methods of a system."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import mm_kptm
from mm_kptm.batch import ALL_ROWS, Encoded, Inputs, OutputRows
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.errors import UserError
from mm_kptm.systems.encoder import DualEncoder, TextLimits
from mm_kptm.systems.system import System
from mm_kptm.systems.text_tokenizer import TextTokenizer


class Toy(nn.Module):
    """The mean word of a text and the mean colour of a picture."""

    dim = 3

    def __init__(self) -> None:
        super().__init__()
        self.word = nn.Embedding(20, 3)
        self.drop = nn.Dropout(0.5)

    def forward(self, inputs: Inputs, output_rows: OutputRows = ALL_ROWS) -> Encoded:
        return Encoded({}, self.embed_text(inputs))

    @property
    def text_limits(self) -> TextLimits:
        return TextLimits(8, 20)

    def prepare_images(self, images: Sequence[Image.Image]) -> Tensor:
        return torch.stack([torch.from_numpy(np.array(one.convert("RGB").resize((2, 2)))) for one in images])

    def embed_images(self, pixels: Tensor) -> Tensor:
        return pixels.float().mean((1, 2))

    def embed_text(self, inputs: Inputs) -> Tensor:
        words = self.drop(self.word(inputs.text.ids))
        return torch.stack([rows.mean(0) for rows in inputs.text.layout.split(words)])


@pytest.fixture
def system(tmp_path: Path) -> System:
    (tmp_path / "vocab.txt").write_text("\n".join([*BERT_SPECIALS, "red", "green", "a", "dot"]), encoding="utf-8")
    torch.manual_seed(0)
    toy = System(Toy(), {}, recipe="toy", sizes={}, head_sizes={})
    toy.tokenizer = TextTokenizer(tmp_path / "vocab.txt", max_length=8, vocab_size=20)
    return toy.train()


def test_texts_keep_their_order_and_have_length_one(system: System) -> None:
    texts = ["a red dot", "red", "a green dot", "green"]
    together = system.encode_text(texts, batch_size=3)
    torch.testing.assert_close(together, torch.cat([system.encode_text([text]) for text in texts]))
    torch.testing.assert_close(together.norm(dim=1), torch.ones(4))
    assert system.training, "the mode from before comes back"
    assert not together.requires_grad


def test_pictures_have_length_one_whatever_their_mode(system: System) -> None:
    pictures = [Image.new("RGB", (4, 4), "red"), Image.new("L", (3, 5), 128)]
    vectors = system.encode_images(pictures, batch_size=1)
    torch.testing.assert_close(vectors[0], torch.tensor([1.0, 0.0, 0.0]))
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2))


def test_nothing_is_no_vector(system: System) -> None:
    assert system.encode_text([]).shape == system.encode_images([]).shape == (0, 3)


def test_one_tower_has_no_space_in_common() -> None:
    bert = mm_kptm.build("bert-base", num_layers=1, dim=8, num_heads=2, ffn_dim=8, vocab_size=20)
    assert not isinstance(bert.encoder, DualEncoder)
    with pytest.raises(UserError, match=r"^pictures were to be encoded into one space with pictures and texts, but"):
        bert.encode_images([])
    with pytest.raises(UserError, match="bert-base has no two towers; take one of the family clip, align or"):
        bert.encode_text(["a"])
