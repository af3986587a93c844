"""ERNIE 2.0: continual pretraining tasks, each with a task embedding.

The tasks: :mod:`mm_kptm.objectives.token_classes` (capitals, words of the document), :mod:`mm_kptm.objectives.order`
(reordering, and pairs of sentences by distance, discourse relation and relevance), knowledge masking as in ERNIE 1.0.
:class:`mm_kptm.objectives.continual.ContinualSchedule` schedules them.
"""

from collections.abc import Mapping
from typing import Any

from torch import nn

from mm_kptm.knowledge.recipes.ernie_baidu import ERNIE_BAIDU_BASE
from mm_kptm.models.single import SingleStream
from mm_kptm.nn.init import bert_init
from mm_kptm.recipes.bert import pair_classes
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.rules import Rename


def token_classes(encoder: SingleStream, *, num_classes: int = 2) -> nn.Linear:
    """Linear layer on every token's hidden state (Sun et al. 2020, section 4.2.1)."""
    head = nn.Linear(encoder.dim, num_classes)
    bert_init(head)
    return head


def orders(encoder: SingleStream, *, num_classes: int = 9) -> nn.Linear:
    """Linear layer on the pooled state; one, two and three segments have nine orders (section 4.2.2)."""
    return pair_classes(encoder, num_classes=num_classes)


def three_classes(encoder: SingleStream, *, num_classes: int = 3) -> nn.Linear:
    """Linear layer on the pooled state: sentence distance, or relevance of a title."""
    return pair_classes(encoder, num_classes=num_classes)


def discourse_relations(encoder: SingleStream, *, num_classes: int = 174) -> nn.Linear:
    """Linear layer on the pooled state; there are 174 discourse markers (Sileo et al. 2019)."""
    return pair_classes(encoder, num_classes=num_classes)


def embedded_tasks(config: Mapping[str, Any]) -> dict[str, int]:
    """Number of task embeddings in a Hugging Face configuration."""
    if "use_task_id" not in config:
        return {}
    return {"num_tasks": config.get("task_type_vocab_size", 3) if config["use_task_id"] else 0}


_TASK = "encoder.embed.text.task.weight"

ERNIE2_BASE = Recipe(
    **{
        **vars(ERNIE_BAIDU_BASE),
        "name": "ernie-2.0-base",
        "family": "ernie2",
        "paper": "Sun et al. 2020, ERNIE 2.0: A Continual Pre-Training Framework for Language Understanding, AAAI, "
        "arXiv:1907.12412",
        "heads": {
            **ERNIE_BAIDU_BASE.heads,
            "capitalization": token_classes,
            "document-words": token_classes,
            "sentence-reordering": orders,
            "sentence-distance": three_classes,
            "discourse-relation": discourse_relations,
            "ir-relevance": three_classes,
        },
        "objectives": (
            "masked-tokens",
            "capitalization",
            "document-words",
            "sentence-reordering",
            "sentence-distance",
            "discourse-relation",
            "ir-relevance",
        ),
        "sizes": {
            "vocab_size": 30522,
            "max_positions": 512,
            "num_segments": 4,
            "num_tasks": 16,
            "activation": "gelu",
        },
        "weights": (
            Rename("[ernie.][bert.]embeddings.task_type_embeddings.weight", _TASK),
            Rename("task_embedding", _TASK),
            *ERNIE_BAIDU_BASE.weights,
        ),
        "read_config": embedded_tasks,
        "infer_from_shapes": {**ERNIE_BAIDU_BASE.infer_from_shapes, "num_tasks": (_TASK, 0)},
        "notes": (
            "the names of the tasks' heads in the released files are not known, so those heads always begin fresh",
            "activation, segments and the table of 16 tasks are those of the released English model, as recalled; "
            "the sizes of a checkpoint's tables take precedence",
            "fine-tuning may use any task embedding; the default is task 0, as in Hugging Face's models",
            "the paper leaves open into how many segments sentence reordering cuts; three are taken",
            "the paper's table of steps is as recalled; mm_kptm.objectives.continual.SEQUENTIAL_MULTI_TASK has it",
            "attention dropout equals the dropout of the states, as in the released configuration",
        ),
    }
)

ERNIE2_LARGE = Recipe(
    **{
        **vars(ERNIE2_BASE),
        "name": "ernie-2.0-large",
        "sizes": {**ERNIE2_BASE.sizes, "dim": 1024, "num_heads": 16, "num_layers": 24, "ffn_dim": 4096},
    }
)
