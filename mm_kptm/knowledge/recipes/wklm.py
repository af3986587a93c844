"""WKLM: BERT pretrained to detect replaced entities."""

from torch import nn

from mm_kptm.models.single import SingleStream
from mm_kptm.nn.init import bert_init
from mm_kptm.recipes.bert import BERT_BASE, bert, masked_tokens
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.rules import Drop


def entity_replacement(encoder: SingleStream) -> nn.Linear:
    """Linear layer to one score on the states before and after a mention, [M, 2 D] (Xiong et al. 2020, section 3.2)."""
    head = nn.Linear(2 * encoder.dim, 1)
    bert_init(head)
    return head


WKLM_BASE = Recipe(
    name="wklm-base",
    family="wklm",
    paper="Xiong et al. 2020, Pretrained Encyclopedia: Weakly Supervised Knowledge-Pretrained Language Model, ICLR, "
    "arXiv:1912.09637",
    build=bert,
    reads=frozenset({"text"}),
    heads={"masked-tokens": masked_tokens, "entity-replacement": entity_replacement},
    objectives=("entity-replacement",),
    pretraining_heads=("entity-replacement", "masked-tokens"),
    weights=(
        *(rule for rule in BERT_BASE.weights if not rule.theirs.startswith("cls.seq_relationship")),
        Drop("cls.seq_relationship.{leaf}", because="WKLM starts from BERT and has no next-sentence prediction"),
    ),
    config_keys=BERT_BASE.config_keys,
    notes=(
        *BERT_BASE.notes,
        "neither code nor weights were released; it starts from BERT's file, with heads.entity-replacement fresh",
        "the paper's share of replaced mentions is not known to us; it is data.replaced, 0.5 by default",
        "the first and last token of a text stand around mentions at its edges",
        "the losses are means over mentions and over masked tokens; the paper sums over mentions",
    ),
)
