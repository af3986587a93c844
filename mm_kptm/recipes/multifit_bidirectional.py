"""MultiFiT in both directions: the average of a classifier that reads forward and one that reads from the end."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mm_kptm.batch import ALL_ROWS, Encoded, Inputs, OutputRows
from mm_kptm.recipes.multifit import (
    FIELDS,
    MULTIFIT,
    Depth,
    MultiFit,
    classes,
    encoder_rules,
    head_rules,
    multifit,
)
from mm_kptm.systems.recipe import Recipe, takes_sizes_of
from mm_kptm.systems.rules import Drop, Rename, Rule

DIRECTIONS = {"forward.": "forwards", "backward.": "backwards"}  #: prefixes of the two files, and our parts


class BidirectionalMultiFit(nn.Module):
    """Two language models, one of which reads texts from their end; states and pooled vectors lie side by side.

    Shapes: T token rows, B texts, D width of both directions together.
    """

    def __init__(self, forwards: MultiFit, backwards: MultiFit) -> None:
        super().__init__()
        self.forwards = forwards
        self.backwards = backwards
        self.dim = forwards.dim + backwards.dim
        self.pooled_dim = forwards.pooled_dim + backwards.pooled_dim

    def hidden_states(self, inputs: Inputs) -> Iterator[Depth]:
        """The word vectors, then the states after each layer, of both directions."""
        for ahead, back in zip(self.forwards.hidden_states(inputs), self.backwards.hidden_states(inputs), strict=True):
            yield Depth(torch.cat([ahead.x, back.x], 1))

    def forward(self, inputs: Inputs, output_rows: OutputRows = ALL_ROWS) -> Encoded:
        """The states [T, D] that are asked for, and a vector per text [B, 3 D]."""
        ahead, back = self.forwards(inputs, output_rows), self.backwards(inputs, output_rows)
        return Encoded({"text": torch.cat([ahead.text, back.text], 1)}, torch.cat([ahead.pooled, back.pooled], 1))


class AveragedClasses(nn.Module):
    """Logarithm of the mean of the class probabilities of two classifiers, each on its half of the pooled vector."""

    def __init__(self, forwards: nn.Module, backwards: nn.Module) -> None:
        super().__init__()
        self.forwards = forwards
        self.backwards = backwards

    def forward(self, pooled: Tensor) -> Tensor:
        """[B, 3 D] -> [B, C]."""
        ahead, back = pooled.chunk(2, dim=1)
        both = torch.stack([self.forwards(ahead), self.backwards(back)]).log_softmax(-1)
        return both.logsumexp(0) - torch.log(torch.tensor(2.0, device=both.device))


@takes_sizes_of(multifit, without=["backward"])
def bidirectional(**sizes: Any) -> BidirectionalMultiFit:
    """Both directions of :func:`~mm_kptm.recipes.multifit.multifit`, of the same sizes."""
    return BidirectionalMultiFit(multifit(**sizes), multifit(**sizes, backward=True))


def averaged_classes(
    encoder: BidirectionalMultiFit, *, num_classes: int = 4, inner_dim: int = 50, dropout: float = 0.1
) -> AveragedClasses:
    """A classifier of each direction, of which the probabilities are averaged."""
    made = [
        classes(one, num_classes=num_classes, inner_dim=inner_dim, dropout=dropout)
        for one in (encoder.forwards, encoder.backwards)
    ]
    return AveragedClasses(*made)


def _rules() -> tuple[Rule, ...]:
    """Key renamings of two classifiers of fastai, or of two that this suite saved, each under its direction."""
    rules: list[Rule] = []
    for start, part in DIRECTIONS.items():
        encoder, head = f"encoder.{part}", f"heads.classifier.{part}"
        rules += encoder_rules(f"{start}0.", encoder)
        rules += head_rules(f"{start}1.", head)
        rules += [
            Rename(f"{start}encoder.word.weight", f"{encoder}.word.weight"),
            Rename(f"{start}encoder.layers.{{i}}.linear.{{leaf}}", f"{encoder}.layers.{{i}}.linear.{{leaf}}"),
            Rename(f"{start}heads.classifier.{{part}}.{{leaf}}", f"{head}.{{part}}.{{leaf}}"),
            Drop(f"{start}heads.next-tokens.bias", because="the classifier predicts no token"),
        ]
    return tuple(rules)


def infer_sizes(tensors: Mapping[str, Tensor], sizes: Mapping[str, Any]) -> dict[str, int]:
    """Width and number of the layers of a direction in a checkpoint."""
    start = "encoder.forwards.layers."
    count = sum(name.startswith(start) and name.endswith(".weight") for name in tensors)
    first = tensors.get(f"{start}0.linear.weight")
    if first is None:
        return {}
    return {"num_layers": count, **({"hidden_dim": len(first) // 3} if count > 1 else {})}


def infer_heads(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, int]]:
    """Sizes of the classifiers in a checkpoint."""
    out = tensors.get("heads.classifier.forwards.out.weight")
    return {} if out is None else {"classifier": {"num_classes": out.shape[0], "inner_dim": out.shape[1]}}


MULTIFIT_BIDIRECTIONAL = Recipe(
    name="multifit-bidirectional",
    family="multifit",
    paper=MULTIFIT.paper,
    build=bidirectional,
    reads=frozenset({"text"}),
    heads={"classifier": averaged_classes},
    weights=_rules(),
    config_keys=FIELDS,
    model_types=("multifit",),
    infer_from_shapes={
        "vocab_size": ("encoder.forwards.word.weight", 0),
        "dim": ("encoder.forwards.word.weight", 1),
    },
    infer_sizes=infer_sizes,
    infer_heads=infer_heads,
    text=MULTIFIT.text,
    notes=(
        "the two directions are pretrained and fine-tuned each by itself (multifit, multifit-backward), and their "
        "probabilities averaged: load both as forward.=FILE,backward.=FILE",
        "trained as it is, the loss is that of the average",
    ),
)
