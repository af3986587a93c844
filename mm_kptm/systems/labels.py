"""Names of the classes of heads, as a system keeps them and as configurations of transformers say them.

The order of the names is that of the logits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mm_kptm.systems.system import System

#: Fine-tuned heads that classes of transformers have, and how the names of these classes end.
FINE_TUNED = {
    "classifier": "ForSequenceClassification",
    "token-classifier": "ForTokenClassification",
    "answer-spans": "ForQuestionAnswering",
}
ROW_HEADS = {"token-classifier", "answer-spans"}  #: their classes of transformers have no pooler
CLASSIFIERS = ("classifier", "token-classifier")  #: transformers calls both ``classifier``
_MADE_UP = re.compile(r"LABEL_\d+")  #: what transformers calls labels without names


def output_layer(head: nn.Module) -> nn.Linear | None:
    """The last linear layer of a head, a row for each class."""
    return next((part for part in reversed(list(head.modules())) if isinstance(part, nn.Linear)), None)


def num_classes(head: nn.Module) -> int:
    """The number of logits of a head; 0 where it ends in no linear layer."""
    last = output_layer(head)
    return 0 if last is None else last.out_features


def name_labels(system: System, labels: Mapping[str, Sequence[str]]) -> None:
    """Name the classes of those heads that have so many."""
    for head, names in labels.items():
        if head in system.heads and len(names) == num_classes(system.heads[head]):
            system.labels[head] = tuple(names)


@torch.no_grad()
def reorder(system: System, head: str, labels: Sequence[str]) -> bool:
    """Put the classes of a head in the order of ``labels``; whether it has exactly these, whatever their case."""
    known = {name.casefold(): row for row, name in enumerate(system.labels[head])}
    asked = [name.casefold() for name in labels]
    last = output_layer(system.heads[head])
    if last is None or len(known) != len(system.labels[head]) or sorted(known) != sorted(asked):
        return False
    rows = torch.tensor([known[name] for name in asked], device=last.weight.device)
    for parameter in (last.weight, last.bias):
        if isinstance(parameter, Tensor):
            parameter.copy_(parameter[rows].clone())
    system.labels[head] = tuple(labels)
    return True


def head_of_class(config: Mapping[str, Any]) -> str | None:
    """The fine-tuned head of the class that a published configuration names; None: another class, or none."""
    named = config.get("architectures")
    architecture = str(named[0]) if isinstance(named, list) and named else ""
    return next((head for head, ending in FINE_TUNED.items() if architecture.endswith(ending)), None)


def published_labels(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The labels that a published configuration names in ``id2label``; none where they are made up or no whole list."""
    named = config.get("id2label")
    if not isinstance(named, dict) or not all(str(number).isdecimal() for number in named):
        return ()
    numbered = {int(number): str(label) for number, label in named.items()}
    labels = tuple(numbered[number] for number in sorted(numbered))
    whole = sorted(numbered) == list(range(len(labels))) and len(set(labels)) == len(labels)
    return labels if whole and not all(_MADE_UP.fullmatch(label) for label in labels) else ()


def label_fields(system: System, head: str) -> dict[str, Any]:
    """The fields ``id2label`` and ``label2id`` of a configuration of transformers."""
    labels = system.labels.get(head) or [f"LABEL_{number}" for number in range(num_classes(system.heads[head]))]
    return {
        "id2label": {str(number): label for number, label in enumerate(labels)},
        "label2id": {label: number for number, label in enumerate(labels)},
    }
