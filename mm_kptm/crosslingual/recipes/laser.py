"""LASER: the sentence encoder of a translation model of 93 languages."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mm_kptm.batch import ALL_ROWS, Encoded, Inputs, OutputRows
from mm_kptm.errors import UserError
from mm_kptm.nn.assembly import refuse_branches, required_text
from mm_kptm.nn.pooling import maximum
from mm_kptm.nn.recurrent.lstm import Lstm, RecurrentStates
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.rules import Rename
from mm_kptm.systems.text_format import SequenceTemplate, TextFormat


class LaserEncoder(nn.Module):
    """Word vectors through a stacked LSTM; a sentence is the largest of its states in every dim.

    Shapes: T token rows, B sentences, D dim, which is the width of all directions together.
    """

    def __init__(
        self, vocab_size: int, input_dim: int, dim: int, num_layers: int, *, bidirectional: bool, dropout: float
    ) -> None:
        super().__init__()
        self.dim = dim
        self.word = nn.Embedding(vocab_size, input_dim)
        self.drop = nn.Dropout(dropout)
        width = dim // 2 if bidirectional else dim
        self.lstm = Lstm(input_dim, width, num_layers, dropout=dropout, bidirectional=bidirectional)

    def read(self, inputs: Inputs) -> RecurrentStates:
        """The states of all rows, and the last ones of every layer."""
        text = required_text(inputs)
        refuse_branches(text, "laser")
        return self.lstm.read(self.drop(self.word(text.ids)), text.layout)

    def forward(self, inputs: Inputs, output_rows: OutputRows = ALL_ROWS) -> Encoded:
        """The states [T, D] that are asked for, and a vector per sentence [B, D]."""
        states = self.read(inputs).x
        return Encoded({"text": states[output_rows["text"]]}, maximum(states, required_text(inputs).layout))


def laser(
    *,
    vocab_size: int = 73640,
    dim: int = 1024,
    input_dim: int = 320,
    num_layers: int = 5,
    bidirectional: bool = True,
    dropout: float = 0.1,
) -> LaserEncoder:
    """The encoder of Artetxe and Schwenk (2019, section 3); the defaults are the model of 93 languages.

    ``dim`` is the width of both directions together.

    Raises:
        UserError: two directions, and ``dim`` is odd.
    """
    if bidirectional and dim % 2:
        raise UserError(f"a BiLSTM has two directions of equal width, but its dim is {dim}; make it even")
    encoder = LaserEncoder(vocab_size, input_dim, dim, num_layers, bidirectional=bidirectional, dropout=dropout)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.uniform_(-0.1, 0.1)  # as fairseq's LSTM, of which it is one
    return encoder


_FIELDS = {
    "num_embeddings": "vocab_size",
    "embed_dim": "input_dim",
    "num_layers": "num_layers",
    "bidirectional": "bidirectional",
}


def read_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The constructor's arguments, which lie beside the weights under ``params``.

    What they say of padding changes no state: texts are ragged here, and the released code masks it.
    """
    config = {**config, **config.get("params", {})}
    sizes = {ours: config[theirs] for theirs, ours in _FIELDS.items() if theirs in config}
    directions = 2 if config.get("bidirectional", True) else 1
    return {**sizes, "dim": directions * config["hidden_size"]} if "hidden_size" in config else sizes


def infer_sizes(tensors: Mapping[str, Tensor], sizes: Mapping[str, Any]) -> dict[str, int]:
    """Width, directions and number of the layers in a checkpoint."""
    matrices = [name for name in tensors if name.startswith("encoder.lstm.weight_hh_l")]
    if not matrices:
        return {}
    both = any(name.endswith("_reverse") for name in matrices)
    directions = 2 if both else 1
    width = directions * tensors[matrices[0]].shape[1]
    return {"num_layers": len(matrices) // directions, "bidirectional": both, "dim": width}


LASER = Recipe(
    name="laser",
    family="laser",
    paper="Artetxe and Schwenk 2019, Massively Multilingual Sentence Embeddings for Zero-Shot Cross-Lingual Transfer "
    "and Beyond, TACL, arXiv:1812.10464",
    build=laser,
    reads=frozenset({"text"}),
    weights=(
        Rename("[encoder.]embed_tokens.weight", "encoder.word.weight"),
        Rename("[encoder.]lstm.{leaf}", "encoder.lstm.{leaf}"),
    ),
    model_types=("laser",),
    read_config=read_config,
    infer_from_shapes={
        "vocab_size": ("encoder.word.weight", 0),
        "input_dim": ("encoder.word.weight", 1),
    },
    infer_sizes=infer_sizes,
    text=TextFormat(template=SequenceTemplate(opened=False)),
    notes=(
        "a sentence is its pieces and </s>, without a sign before them and without its language",
        "the decoder of the translation model was not released; the encoder is used as it is, its vectors normalised "
        "by what compares them",
    ),
)
