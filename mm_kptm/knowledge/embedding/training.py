"""Embeddings of a graph, trained by pykeen (Ali et al. 2021) and measured by our filtered ranking.

The steps are those of pykeen's pipeline, in its order: with the same settings and seed the vectors are the same, bit by
bit. What is added: the generators of the process are left as they were, and its rubbish, which pykeen looks through
after every epoch, is told apart from what was there before (on small graphs that is most of the time).
"""

from __future__ import annotations

import gc
import inspect
import logging
import random
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from mm_kptm.errors import UserError, nearest
from mm_kptm.knowledge.embedding.embeddings import Embeddings, Told
from mm_kptm.knowledge.embedding.ranking import measures, rank
from mm_kptm.knowledge.embedding.scoring import SCORES, Scorer
from mm_kptm.knowledge.graph.splits import SplitGraph

#: How a model is usually trained here: against drawn negatives (slcwa) or against all entities (lcwa), and the loss.
USUAL = {
    "transe": ("slcwa", "nssa"),
    "rotate": ("slcwa", "nssa"),
    "distmult": ("lcwa", "crossentropy"),
    "complex": ("slcwa", "softplus"),
}
LOOPS = ("slcwa", "lcwa")
_NEED_MORE = ("compgcn", "nodepiece", "inductivenodepiece")  # inverse triples, or a second graph


@dataclass(frozen=True)
class EmbeddingSettings:
    """What is trained, and how.

    Raises:
        UserError: a value is out of range, or pykeen has no such model or loss.
    """

    model: str = "transe"  #: of pykeen, in any case of letters
    dim: int = 64  #: of an entity; complex numbers count once
    epochs: int = 200
    batch_size: int = 256
    lr: float = 0.01  #: of Adam
    loop: str = ""  #: slcwa or lcwa; the usual one of the model when empty
    loss: str = ""  #: of pykeen; the usual one of the model when empty
    negatives: int = 32  #: per triple, for slcwa
    margin: float = 6.0  #: for the losses nssa and marginranking
    temperature: float = 1.0  #: of the negatives' weights, for nssa
    seed: int = 0

    def __post_init__(self) -> None:
        for key in ("dim", "epochs", "batch_size", "negatives"):
            if getattr(self, key) < 1:
                raise UserError(f"{key} is {getattr(self, key)} but must be at least 1")
        for key in ("lr", "temperature"):
            if not 0 < getattr(self, key) <= 1000:
                raise UserError(f"{key} is {getattr(self, key)} but must be greater than 0, and 1000 at most")
        if self.loop and self.loop not in LOOPS:
            raise UserError(f"loop is {self.loop!r} but must be one of {', '.join(LOOPS)}")
        _check_names(self.name, self.loss)

    @property
    def name(self) -> str:
        """The model as pykeen spells it."""
        return self.model.lower().replace("_", "").replace("-", "")

    @property
    def trained_by(self) -> tuple[str, str]:
        """The loop, and the loss; an empty one is that of the model's paper.

        pykeen's pipeline takes margin ranking where none is named, whatever the model.
        """
        loop, loss = USUAL.get(self.name, ("slcwa", ""))
        return self.loop or loop, self.loss or loss


@dataclass(frozen=True, eq=False)
class Trained:
    """What training gave."""

    embeddings: Embeddings
    scorer: Scorer  #: ours where the score is one of ours, else pykeen's model
    losses: tuple[float, ...]  #: the mean of every epoch


class PykeenScorer:
    """The scores of a model of pykeen."""

    def __init__(self, model: Any, num_entities: int, num_relations: int) -> None:
        self.model, self.num_entities, self.num_relations = model, num_entities, num_relations

    @torch.no_grad()
    def tails(self, heads: Tensor, relations: Tensor) -> Tensor:
        """Every entity as the tail, [Q, N]."""
        return self._scored(self.model.predict_t, heads, relations)

    @torch.no_grad()
    def heads(self, relations: Tensor, tails: Tensor) -> Tensor:
        """Every entity as the head, [Q, N]."""
        return self._scored(self.model.predict_h, relations, tails)

    def _scored(self, score: Any, *columns: Tensor) -> Tensor:
        found = score(torch.stack(columns, dim=1).to(self.model.device))
        return cast(Tensor, found.cpu())


def train_embeddings(
    graph: SplitGraph,
    settings: EmbeddingSettings,
    *,
    device: str = "cpu",
    progress: bool = False,
) -> Trained:
    """Vectors of the entities and relations of ``graph.train``.

    Raises:
        UserError: model and loss do not go together, or the loss is no longer a finite number.
    """
    from pykeen.training.training_loop import NonFiniteLossError
    from pykeen.triples import CoreTriplesFactory

    with _apart():
        factory = CoreTriplesFactory.create(
            graph.train, num_entities=len(graph.entities), num_relations=len(graph.relations)
        )
        model, loop = _made(factory, settings, device)
        try:
            losses = loop.train(
                triples_factory=factory,
                num_epochs=settings.epochs,
                batch_size=settings.batch_size,
                use_tqdm=progress,
                pin_memory=device.startswith("cuda"),
            )
        except NonFiniteLossError:
            raise UserError(
                f"the loss is no finite number any more; train with a smaller lr than {settings.lr} or a smaller "
                f"margin than {settings.margin}"
            ) from None
    return _trained(graph, settings, model.eval().cpu(), losses)


def evaluate_embeddings(scorer: Scorer, graph: SplitGraph) -> dict[str, dict[str, float]]:
    """The filtered measures of heads and tails together, for valid and test where they have triples."""
    return {
        part: measures(rank(scorer, graph.part(part), graph.known(part)).both)
        for part in ("valid", "test")
        if len(graph.part(part))
    }


def _made(factory: Any, settings: EmbeddingSettings, device: str) -> tuple[Any, Any]:
    """pykeen's model and its training loop, made in the order of its pipeline, which is that of the draws."""
    from pykeen.models import model_resolver
    from pykeen.training import training_loop_resolver

    kind, loss = settings.trained_by
    chosen = {"loss": loss, "loss_kwargs": _of_loss(settings, loss)} if loss else {}
    made = {"embedding_dim": settings.dim, "random_seed": settings.seed, **chosen}
    model = model_resolver.make(settings.name, made, triples_factory=factory).to(device)
    negatives: dict[str, Any] = (
        {"negative_sampler_kwargs": {"num_negs_per_pos": settings.negatives}} if kind == "slcwa" else {}
    )
    optimizer = torch.optim.Adam(model.get_grad_params(), lr=settings.lr)
    loop = training_loop_resolver.lookup(kind)(model=model, triples_factory=factory, optimizer=optimizer, **negatives)
    return model, loop


def _of_loss(settings: EmbeddingSettings, loss: str) -> Mapping[str, float]:
    margin = {"margin": settings.margin}
    return {"nssa": {**margin, "adversarial_temperature": settings.temperature}, "marginranking": margin}.get(loss, {})


def _trained(graph: SplitGraph, settings: EmbeddingSettings, model: Any, losses: list[float]) -> Trained:
    from pykeen.losses import loss_resolver

    with torch.no_grad():
        entities, relations = (
            _flat([representation() for representation in representations])
            for representations in (model.entity_representations, model.relation_representations)
        )
    told = asdict(settings) | {"loop": settings.trained_by[0], "loss": loss_resolver.normalize_inst(model.loss)}
    del told["model"]
    ours = settings.name in SCORES
    embeddings = Embeddings(
        graph.entities,
        cast(Tensor, entities),
        graph.relations,
        relations,
        model=settings.name,
        settings=cast(dict[str, Told], told),
    )
    scorer = embeddings.score() if ours else PykeenScorer(model, len(graph.entities), len(graph.relations))
    return Trained(embeddings, scorer, tuple(losses))


def _flat(tables: list[Tensor]) -> Tensor | None:
    """All that a model holds about a thing, one row each; None where that is nothing."""
    return torch.cat([table.detach().reshape(len(table), -1) for table in tables], dim=1) if tables else None


def _check_names(model: str, loss: str) -> None:
    from pykeen.losses import loss_resolver
    from pykeen.models import model_resolver

    able = {
        name
        for name, kind in model_resolver.lookup_dict.items()
        if "embedding_dim" in inspect.signature(kind.__init__).parameters
        and name not in _NEED_MORE
        and "literal" not in name
    }
    if model not in able:
        raise UserError(f"pykeen trains no model {model!r} from triples alone{nearest(model, able)}")
    if loss and loss not in loss_resolver.lookup_dict:
        raise UserError(f"pykeen has no loss {loss!r}{nearest(loss, loss_resolver.lookup_dict)}")


@contextmanager
def _apart() -> Iterator[None]:
    """pykeen draws from the generators of the process, talks, and collects rubbish: none of it is seen outside."""
    states = random.getstate(), np.random.get_state()
    talk = logging.getLogger("pykeen")
    level = talk.level
    freezes = not gc.get_freeze_count()
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*pin_memory", category=UserWarning)
        talk.setLevel(logging.ERROR)
        if freezes:
            gc.freeze()
        try:
            yield
        finally:
            if freezes:
                gc.unfreeze()
            talk.setLevel(level)
            random.setstate(states[0])
            np.random.set_state(states[1])
