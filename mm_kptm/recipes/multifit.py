"""MultiFiT: quasi-recurrent language models of single languages, fine-tuned to classify documents."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mm_kptm.batch import ALL_ROWS, Encoded, Inputs, OutputRows, SequenceLayout, Tokens
from mm_kptm.nn.assembly import refuse_branches, required_text
from mm_kptm.nn.batch_norm import BatchNorm
from mm_kptm.nn.pooling import last, maximum, mean
from mm_kptm.nn.recurrent.qrnn import QrnnLayer, QrnnState, SequenceDropout
from mm_kptm.nn.submodules import submodule
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.rules import Drop, Rename, Rule, Same
from mm_kptm.systems.text_format import SequenceTemplate, TextFormat


class Depth(NamedTuple):
    """States of all rows at one depth."""

    x: Tensor


class MultiFit(nn.Module):
    """Word vectors through quasi-recurrent layers, of which the first reads the row before, too.

    The pooled vector holds the last state, the largest and the mean of the states of the last windows of a text. With
    ``backward`` a text is read from its end, so that the row before is the next one and the last state the first row's.

    Shapes: T token rows, B texts, D width of words and of the last layer.
    """

    def __init__(
        self,
        word: nn.Embedding,
        layers: list[QrnnLayer],
        *,
        window: int,
        max_pooled: int,
        rates: Mapping[str, float],
        backward: bool = False,
    ) -> None:
        super().__init__()
        self.dim = word.embedding_dim
        self.pooled_dim = 3 * self.dim
        self.word = word
        self.layers = nn.ModuleList(layers)
        self.word_dropout = rates["word"]
        self.drop_in = SequenceDropout(rates["input"])
        self.drop_hidden = SequenceDropout(rates["hidden"])
        self.drop_out = SequenceDropout(rates["output"])
        self.window = window
        self.max_pooled = max_pooled
        self.backward = backward

    def read(self, text: Tokens, states: list[QrnnState] | None = None) -> tuple[list[Tensor], list[QrnnState]]:
        """The states of every layer for the next window of some texts, each [T, .], and where the layers stand then.

        Args:
            text: the window, its rows in the order of reading.
            states: of the layers after the window before, for the same texts in the same order; None at the beginning.
        """
        outputs, after = [], []
        for x, state in self._layers(text, states):
            outputs.append(x)
            after.append(state)
        return outputs, after

    def hidden_states(self, inputs: Inputs) -> Iterator[Depth]:
        """The word vectors, then the states after each layer."""
        text, order = self._in_reading_order(required_text(inputs))
        yield Depth(self.word(text.ids)[order])
        for x, _ in self._layers(text, None):
            yield Depth(x[order])

    def forward(self, inputs: Inputs, output_rows: OutputRows = ALL_ROWS) -> Encoded:
        """The states [T, D] that are asked for, and a vector per text [B, 3 D]."""
        given = required_text(inputs)
        refuse_branches(given, "multifit")
        text, order = self._in_reading_order(given)
        states = self.drop_out(self.read(text)[0][-1], text.layout)
        layout, rows = self.pooled_rows(text.layout, states.device)
        return Encoded({"text": states[order][output_rows["text"]]}, concatenated(states[rows], layout))

    def _in_reading_order(self, text: Tokens) -> tuple[Tokens, Tensor | slice]:
        """The text as it is read, and the rows that put what was read in the order of the text."""
        if not self.backward:
            return text, slice(None)
        order = reversal(text.layout, text.ids.device)
        return replace(text, ids=text.ids[order]), order

    def pooled_rows(self, layout: SequenceLayout, device: torch.device) -> tuple[SequenceLayout, Tensor]:
        """The rows that are pooled: those of the windows that begin less than ``max_pooled`` before the end."""
        offsets = layout.offsets_in_sequence(device)
        lengths = torch.tensor(layout.lengths, device=device)[layout.sequence_ids(device)]
        kept = offsets - offsets % self.window > lengths - self.max_pooled
        counts = torch.bincount(layout.sequence_ids(device)[kept], minlength=len(layout))
        return SequenceLayout(tuple(counts.tolist())), kept.nonzero().squeeze(1)

    def _layers(self, text: Tokens, states: list[QrnnState] | None) -> Iterator[tuple[Tensor, QrnnState]]:
        x = self.drop_in(self._words(text.ids), text.layout)
        for number, layer in enumerate(self.layers):
            x = x if number == 0 else self.drop_hidden(x, text.layout)
            x, after = layer(x, text.layout, None if states is None else states[number])
            yield x, after

    def _words(self, ids: Tensor) -> Tensor:
        """Word vectors; a step of training leaves out whole words of the vocabulary (Gal and Ghahramani 2016)."""
        if not self.training or not self.word_dropout:
            return self.word(ids)
        kept = F.dropout(self.word.weight.new_ones(self.word.num_embeddings, 1), self.word_dropout)
        return F.embedding(ids, self.word.weight * kept)


def reversal(layout: SequenceLayout, device: torch.device) -> Tensor:
    """The rows of every sequence from its last to its first, [T]; twice in a row it changes nothing.

    >>> reversal(SequenceLayout((3, 2)), torch.device("cpu")).tolist()
    [2, 1, 0, 4, 3]
    """
    firsts, ends = layout.cu_seqlens(device)[:-1].long(), layout.cu_seqlens(device)[1:].long()
    return (firsts + ends - 1)[layout.sequence_ids(device)] - torch.arange(layout.total, device=device)


def concatenated(rows: Tensor, layout: SequenceLayout) -> Tensor:
    """The last row of every sequence, the largest value and the mean of each dim: [T, D] -> [B, 3 D]."""
    return torch.cat([last(rows, layout), maximum(rows, layout), mean(rows, layout)], 1)


def multifit(
    *,
    vocab_size: int = 15000,
    dim: int = 400,
    hidden_dim: int = 1550,
    num_layers: int = 4,
    window: int = 70,
    max_pooled: int = 1400,
    word_dropout: float = 0.02,
    input_dropout: float = 0.2,
    hidden_dropout: float = 0.1,
    output_dropout: float = 0.25,
    weight_dropout: float = 0.15,
    backward: bool = False,
) -> MultiFit:
    """The language model of Eisenschlos et al. (2019, section 3.1); the defaults are the published sizes.

    The last layer is as wide as the words. Texts are pooled over the windows of ``window`` tokens that begin less than
    ``max_pooled`` tokens before their end. The dropouts are those of the paper before their multiplier, which is 0 in
    pretraining, 0.3 on the language of the task and 0.5 in its classifier. ``backward`` reads texts from their end.
    """
    word = nn.Embedding(vocab_size, dim)
    nn.init.uniform_(word.weight, -0.1, 0.1)
    widths = [dim, *[hidden_dim] * (num_layers - 1), dim]
    layers = [
        QrnnLayer(one, other, window=2 if number == 0 else 1, weight_dropout=weight_dropout)
        for number, (one, other) in enumerate(pairwise(widths))
    ]
    rates = {"word": word_dropout, "input": input_dropout, "hidden": hidden_dropout, "output": output_dropout}
    return MultiFit(word, layers, window=window, max_pooled=max_pooled, rates=rates, backward=backward)


class TiedOutput(nn.Module):
    """Vocabulary logits with the word table as output matrix and a bias."""

    def __init__(self, word: nn.Embedding) -> None:
        super().__init__()
        self.word = word
        self.bias = nn.Parameter(torch.zeros(word.num_embeddings))

    def forward(self, rows: Tensor) -> Tensor:
        """[P, D] -> [P, V]."""
        return F.linear(rows, self.word.weight, self.bias)


def next_tokens(encoder: MultiFit) -> TiedOutput:
    """The word table as output matrix, with a bias."""
    return TiedOutput(submodule(encoder, "word", nn.Embedding))


def classes(encoder: MultiFit, *, num_classes: int = 4, inner_dim: int = 50, dropout: float = 0.1) -> nn.Sequential:
    """Batch norm, dropout, linear, ReLU, batch norm, dropout, linear on the pooled vector (Howard and Ruder 2018)."""
    parts: list[tuple[str, nn.Module]] = [
        ("norm_in", BatchNorm(encoder.pooled_dim)),
        ("drop_in", nn.Dropout(dropout)),
        ("inner", nn.Linear(encoder.pooled_dim, inner_dim)),
        ("bend", nn.ReLU()),
        ("norm_inner", BatchNorm(inner_dim)),
        ("drop_inner", nn.Dropout(dropout)),
        ("out", nn.Linear(inner_dim, num_classes)),
    ]
    return nn.Sequential(OrderedDict(parts))


def encoder_rules(start: str, ours: str = "encoder") -> tuple[Rule, ...]:
    """Key renamings under ``start``; of names such as ``linear.module.bias`` the wrapper is taken off before."""
    layer, place = f"{start}rnns.{{i}}.layers.0.linear", f"{ours}.layers.{{i}}.linear"
    return (
        Rename(f"{start}encoder.weight", f"{ours}.word.weight"),
        Same(f"{start}encoder_dp.emb.weight", as_=f"{start}encoder.weight"),
        Rename(f"{layer}.weight_raw", f"{place}.weight"),
        Drop(f"{layer}.weight", because="the working copy of weight_raw, which dropout has changed"),
        Rename(f"{layer}.bias", f"{place}.bias"),
    )


def head_rules(theirs: str, ours: str = "heads.classifier") -> tuple[Rule, ...]:
    """Key renamings of the classifier under ``theirs``."""
    rules: list[Rule] = []
    for number, part in ((0, "norm_in"), (2, "inner"), (4, "norm_inner"), (6, "out")):
        if part.startswith("norm"):
            rules.append(
                Drop(f"{theirs}layers.{number}.num_batches_tracked", because="the running mean needs no count")
            )
        rules.append(Rename(f"{theirs}layers.{number}.{{leaf}}", f"{ours}.{part}.{{leaf}}"))
    return tuple(rules)


def infer_sizes(tensors: Mapping[str, Tensor], sizes: Mapping[str, Any]) -> dict[str, int]:
    """Width and number of the layers in a checkpoint."""
    weights = [tensor for name, tensor in tensors.items() if name.startswith("encoder.layers.") and tensor.dim() == 2]
    if not weights:
        return {}
    first = tensors["encoder.layers.0.linear.weight"]
    return {"num_layers": len(weights), **({"hidden_dim": len(first) // 3} if len(weights) > 1 else {})}


def infer_heads(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, int]]:
    """Sizes of the classifier in a checkpoint."""
    out = tensors.get("heads.classifier.out.weight")
    return {} if out is None else {"classifier": {"num_classes": out.shape[0], "inner_dim": out.shape[1]}}


#: Sizes by the names of fastai's configuration.
FIELDS = {
    "vocab": "vocab_size",
    "emb_sz": "dim",
    "n_hid": "hidden_dim",
    "n_layers": "num_layers",
    "bptt": "window",
    "max_len": "max_pooled",
    "output_p": "output_dropout",
    "hidden_p": "hidden_dropout",
    "input_p": "input_dropout",
    "embed_p": "word_dropout",
    "weight_p": "weight_dropout",
}

MULTIFIT = Recipe(
    name="multifit",
    family="multifit",
    paper="Eisenschlos et al. 2019, MultiFiT: Efficient Multi-lingual Language Model Fine-tuning, EMNLP, "
    "arXiv:1909.04761",
    build=multifit,
    reads=frozenset({"text"}),
    heads={"next-tokens": next_tokens, "classifier": classes},
    objectives=("next-tokens",),
    weights=(
        *(rule for start in ("lm.0.", "0.") for rule in encoder_rules(start)),
        *(Same(f"{start}1.decoder.weight", as_=f"{start}0.encoder.weight") for start in ("lm.", "")),
        *(Rename(f"{start}1.decoder.bias", "heads.next-tokens.bias") for start in ("lm.", "")),
        *(rule for start in ("head.", "1.") for rule in head_rules(start)),
    ),
    config_keys=FIELDS,
    model_types=("multifit",),
    infer_from_shapes={"vocab_size": ("encoder.word.weight", 0), "dim": ("encoder.word.weight", 1)},
    infer_sizes=infer_sizes,
    infer_heads=infer_heads,
    text=TextFormat(template=SequenceTemplate(closed=False)),
    notes=(
        "one model per language; what is cross-lingual is the protocol: a cross-lingual classifier labels documents of "
        "the language, and the model learns from them",
        "the released code pads documents on their left, and the recurrence reads the padding; here results do not "
        "depend on the batch",
        "which windows of a text are pooled follows from its length, in the released code from the longest of a batch",
        "a text begins with xxbos and has no sign at its end",
    ),
)

MULTIFIT_BACKWARD = Recipe(
    **{
        **vars(MULTIFIT),
        "name": "multifit-backward",
        "sizes": {"backward": True},
        "objective_arguments": {"next-tokens": {"backward": True}},
        "notes": (*MULTIFIT.notes, "texts are read from their end, and the token before is predicted"),
    }
)
