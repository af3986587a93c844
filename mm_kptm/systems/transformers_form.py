"""The form in which transformers opens a saved folder, for the systems that it has an equal class of.

Parameters of the encoder and of heads that transformers knows have their published names; other heads keep ours, which
transformers leaves behind. The configuration has transformers' fields beside ours.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mm_kptm.systems.keymap import translate
from mm_kptm.systems.rules import Rename, Rule

_NO_TENSORS: Callable[[Mapping[str, Any]], Mapping[str, Tensor]] = lambda sizes: {}  # noqa: E731 a default


@dataclass(frozen=True)
class TransformersForm:
    """How a recipe's folder is written for transformers."""

    model_type: str
    architecture: str
    prefix: str  #: of the encoder's names, such as ``bert.``
    fields: Callable[[Mapping[str, Any]], Mapping[str, Any]]  #: sizes -> fields of its configuration
    extra: Callable[[Mapping[str, Any]], Mapping[str, Tensor]] = field(default=_NO_TENSORS)
    """Sizes -> tensors that its class has and ours does without, which change no state."""


def published_name(ours: str, rules: tuple[Rule, ...], prefix: str) -> str | None:
    """The published name that the rules place at one of ours, written with its ``prefix``; None: there is none."""
    plain = [rule for rule in rules if isinstance(rule, Rename) and "{side}" not in rule.theirs]
    for rule in sorted(plain, key=lambda rule: rule.ours.count("{")):  # a name in letters before one of any letters
        if found := re.fullmatch(_named_groups(rule.ours), ours):
            name = re.sub(r"\[([^\]]*)\]", r"\1", rule.theirs).format(**found.groupdict())
            if name.startswith((prefix, "cls.", "lm_head.")):
                return name
    return None


def _named_groups(ours: str) -> str:
    return re.sub(
        r"\\\{(\w+)\\\}", lambda name: rf"(?P<{name[1]}>{'[0-9]+' if name[1] == 'i' else '[^.]+'})", re.escape(ours)
    )


def to_published(
    tensors: Mapping[str, Tensor], form: TransformersForm, rules: tuple[Rule, ...], sizes: Mapping[str, Any]
) -> dict[str, Tensor]:
    """Parameters under published names where there are such, and what transformers needs besides."""
    written = {published_name(name, rules, form.prefix) or name: tensor for name, tensor in tensors.items()}
    return {**written, **form.extra(sizes)}


def from_published(
    tensors: Mapping[str, Tensor],
    form: TransformersForm,
    rules: tuple[Rule, ...],
    sizes: Mapping[str, Any],
    ours: set[str],
) -> dict[str, Tensor]:
    """Parameters of a saved folder under our names, whichever names each was saved with.

    Args:
        tensors: of the file.
        form: that the folder may have been written in.
        rules: of the recipe.
        sizes: of the system.
        ours: names that the system has.
    """
    extra = {name.removeprefix(form.prefix) for name in form.extra(sizes)}
    kept = {name: tensor for name, tensor in tensors.items() if name in ours or name.startswith(("heads.", "task."))}
    rest = {
        name: tensor
        for name, tensor in tensors.items()
        if name not in kept and name.removeprefix(form.prefix) not in extra
    }
    translation = translate(rest, rules)
    strangers = {name: rest[name] for name in translation.strangers}
    return {**strangers, **translation.tensors, **kept}


def bert_fields(sizes: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of BertConfig."""
    dropout = sizes["attention_dropout"]
    return {
        "hidden_size": sizes["dim"],
        "num_attention_heads": sizes["num_heads"],
        "num_hidden_layers": sizes["num_layers"],
        "intermediate_size": sizes["ffn_dim"],
        "vocab_size": sizes["vocab_size"],
        "max_position_embeddings": sizes["max_positions"],
        "type_vocab_size": sizes["num_segments"],
        "hidden_act": sizes["activation"],
        "layer_norm_eps": sizes["norm_eps"],
        "hidden_dropout_prob": sizes["dropout"],
        "attention_probs_dropout_prob": sizes["dropout"] if dropout is None else dropout,
    }


BERT_FORM = TransformersForm("bert", "BertModel", "bert.", bert_fields)


def _roberta_fields(sizes: Mapping[str, Any]) -> dict[str, Any]:
    fields = bert_fields(sizes)
    return {
        **fields,
        "type_vocab_size": max(1, fields["type_vocab_size"]),
        "pad_token_id": sizes["position_offset"] - 1,
    }


def _one_segment(sizes: Mapping[str, Any]) -> dict[str, Tensor]:
    """RobertaModel always adds a segment; one of zeros adds nothing."""
    name = "roberta.embeddings.token_type_embeddings.weight"
    return {} if sizes["num_segments"] else {name: torch.zeros(1, sizes["dim"])}


ROBERTA_FORM = TransformersForm("roberta", "RobertaModel", "roberta.", _roberta_fields, _one_segment)
