"""Train embeddings of a graph with pykeen (Ali et al. 2021), or large ones by rows; evaluate by our filtered ranking.

The steps and their order are those of pykeen's pipeline: the same settings and seed give bit-identical vectors. In
addition, the global random generators are restored afterwards, and objects that existed before are frozen for the
garbage collector, which pykeen runs after every epoch (on small graphs that is most of the time).
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
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from mm_kptm.errors import UserError, nearest
from mm_kptm.knowledge.embedding.embeddings import Embeddings, SettingValue
from mm_kptm.knowledge.embedding.geometries import GEOMETRIES
from mm_kptm.knowledge.embedding.ranking import measures, rank
from mm_kptm.knowledge.embedding.scoring import SCORES, Scorer
from mm_kptm.knowledge.embedding.shared_negatives import SharedNegatives, SharedNegativesTraining
from mm_kptm.knowledge.graph.splits import SplitGraph
from mm_kptm.train.parallel.processes import rank_and_world_size

#: Usual training loop and loss of a model: sampled negatives (slcwa) or all entities (lcwa).
USUAL = {
    "transe": ("slcwa", "nssa"),
    "rotate": ("slcwa", "nssa"),
    "distmult": ("lcwa", "crossentropy"),
    "complex": ("slcwa", "softplus"),
}
SHARED = "shared"  #: the loop of :mod:`mm_kptm.knowledge.embedding.shared_negatives`
LOOPS = ("slcwa", "lcwa", SHARED)
_SHARED_LOSS = {"distmult": "crossentropy", "complex": "softplus"}  # the others: nssa
_NEED_MORE = ("compgcn", "nodepiece", "inductivenodepiece")  # they need inverse triples, or a second graph


@dataclass(frozen=True)
class EmbeddingSettings:
    """Settings of an embedding training.

    Raises:
        UserError: a value is out of range, or pykeen has no such model or loss.
    """

    model: str = "transe"  #: pykeen's name, in any case
    dim: int = 64  #: entity dim; complex values count once
    epochs: int = 200
    batch_size: int = 256
    lr: float = 0.01  #: learning rate
    optimizer: str = "adam"  #: adam; with the loop shared also adagrad, which keeps one number a row
    loop: str = ""  #: slcwa, lcwa, or shared for graphs of any size; the model's usual one when empty
    loss: str = ""  #: pykeen's name; the model's usual one when empty
    negatives: int = 32  #: per triple, for slcwa; per block, for shared
    block: int = 4  #: triples that share their negatives, for shared
    margin: float = 6.0  #: of the losses nssa and marginranking
    temperature: float = 1.0  #: of the negatives' weights in nssa
    seed: int = 0

    def __post_init__(self) -> None:
        for key in ("dim", "epochs", "batch_size", "negatives", "block"):
            if getattr(self, key) < 1:
                raise UserError(f"{key} is {getattr(self, key)} but must be at least 1")
        for key in ("lr", "temperature"):
            if not 0 < getattr(self, key) <= 1000:
                raise UserError(f"{key} is {getattr(self, key)} but must be greater than 0, and 1000 at most")
        if not 0 <= self.seed < 2**32:
            raise UserError(f"seed is {self.seed} but must be between 0 and {2**32 - 1}")
        if self.loop and self.loop not in LOOPS:
            raise UserError(f"loop is {self.loop!r} but must be one of {', '.join(LOOPS)}")
        if self.trained_by[0] == SHARED:
            _ = self.with_shared_negatives
            return
        if self.optimizer != "adam":
            raise UserError(
                f"pykeen's loops train with adam here, not {self.optimizer}; that goes with the loop shared"
            )
        _check_names(self.name, self.loss)

    @property
    def with_shared_negatives(self) -> SharedNegatives:
        """The same settings for the loop ``shared``."""
        return SharedNegatives(
            model=self.name,
            dim=self.dim,
            batch_size=self.batch_size,
            block=self.block,
            negatives=self.negatives,
            epochs=self.epochs,
            lr=self.lr,
            optimizer=self.optimizer,
            loss=self.trained_by[1],
            margin=self.margin,
            temperature=self.temperature,
            seed=self.seed,
        )

    @property
    def name(self) -> str:
        """Normalised pykeen name of the model."""
        return self.model.lower().replace("_", "").replace("-", "")

    @property
    def trained_by(self) -> tuple[str, str]:
        """Training loop and loss; an empty loss is the default of the model.

        Pykeen's pipeline uses margin ranking where no loss is named, whatever the model.
        """
        loop, loss = USUAL.get(self.name, ("slcwa", ""))
        if self.loop == SHARED:
            return SHARED, self.loss or _SHARED_LOSS.get(self.name, "nssa")
        return self.loop or loop, self.loss or loss


@dataclass(frozen=True, eq=False)
class Trained:
    """Result of a training: embeddings, scorer and losses."""

    embeddings: Embeddings
    scorer: Scorer  #: ours where the score is one of ours, else the pykeen model
    losses: tuple[float, ...]  #: mean loss of every epoch


class PykeenScorer:
    """Scorer that wraps a pykeen model."""

    def __init__(self, model: Any, num_entities: int, num_relations: int) -> None:
        self.model, self.num_entities, self.num_relations = model, num_entities, num_relations

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return cast(torch.device, self.model.device)

    @torch.no_grad()
    def tails(self, heads: Tensor, relations: Tensor) -> Tensor:
        """Scores of every entity as the tail, [Q, N]."""
        return self._scored(self.model.predict_t, heads, relations)

    @torch.no_grad()
    def heads(self, relations: Tensor, tails: Tensor) -> Tensor:
        """Scores of every entity as the head, [Q, N]."""
        return self._scored(self.model.predict_h, relations, tails)

    def _scored(self, score: Any, *columns: Tensor) -> Tensor:
        return cast(Tensor, score(torch.stack(columns, dim=1).to(self.model.device)))


def train_embeddings(
    graph: SplitGraph,
    settings: EmbeddingSettings,
    *,
    device: str = "cpu",
    progress: bool = False,
    folder: Path | None = None,
) -> Trained:
    """Train embeddings of the entities and relations of ``graph.train``.

    With the loop ``shared`` the processes of a launch share every batch, and get the same vectors.

    Args:
        graph: its parts.
        settings: of the training.
        device: of the vectors.
        progress: whether pykeen shows how far it is.
        folder: for vectors and states of the optimiser in mapped files, with the loop ``shared`` on a CPU; the vectors
            lie there until the folder is removed. None: in memory.

    Raises:
        UserError: model and loss do not go together, the loss is no longer finite, or the loop does not know mapped
            files or several processes.
    """
    if len(graph.entities) < 2:
        raise UserError(
            f"vectors of {len(graph.entities)} entity were to be trained, but a triple of one entity has no negative; "
            "give a graph of two entities or more"
        )
    if settings.trained_by[0] == SHARED:
        return _trained_by_rows(graph, settings, device, folder)
    for asked, what in ((folder is not None, "mapped files"), (rank_and_world_size()[1] > 1, "several processes")):
        if asked:
            raise UserError(
                f"vectors were to be trained in {what}, which pykeen's loop {settings.trained_by[0]} does not know; "
                f"train with the loop {SHARED}"
            )
    from pykeen.training.training_loop import NonFiniteLossError
    from pykeen.triples import CoreTriplesFactory

    with _isolated():
        factory = CoreTriplesFactory.create(
            graph.train, num_entities=len(graph.entities), num_relations=len(graph.relations)
        )
        model, loop = _model_and_loop(factory, settings, device)
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
    return _trained(graph, settings, model.eval(), losses)


def _trained_by_rows(graph: SplitGraph, settings: EmbeddingSettings, device: str, folder: Path | None) -> Trained:
    if folder is not None and device != "cpu":
        raise UserError(f"vectors in mapped files are trained on the CPU, not on {device}; leave one of the two out")
    shared = settings.with_shared_negatives
    training = SharedNegativesTraining(
        graph.train, len(graph.entities), len(graph.relations), shared, device, folder=folder
    )
    losses = training.epochs()
    tables = [table.cpu() for table in (training.entities, training.relations)]
    if GEOMETRIES[settings.name].width > 1:
        tables = [torch.view_as_complex(table.unflatten(-1, (-1, 2))) for table in tables]
    trained_with = asdict(settings) | {"loop": SHARED, "loss": shared.loss}
    del trained_with["model"]
    embeddings = Embeddings(
        graph.entities,
        tables[0],
        graph.relations,
        tables[1],
        model=settings.name,
        settings=cast(dict[str, SettingValue], trained_with),
    )
    return Trained(embeddings, embeddings.score().to(device), tuple(losses))


def evaluate_embeddings(scorer: Scorer, graph: SplitGraph) -> dict[str, dict[str, float]]:
    """Filtered metrics of heads and tails together, for valid and test where they have triples."""
    return {
        part: measures(rank(scorer, graph.part(part), graph.known(part)).both)
        for part in ("valid", "test")
        if len(graph.part(part))
    }


def _model_and_loop(factory: Any, settings: EmbeddingSettings, device: str) -> tuple[Any, Any]:
    """Model and training loop of pykeen, built in the order of its pipeline so that random draws agree."""
    from pykeen.models import model_resolver
    from pykeen.training import training_loop_resolver

    kind, loss = settings.trained_by
    loss_settings = {"loss": loss, "loss_kwargs": _of_loss(settings, loss)} if loss else {}
    model_settings = {"embedding_dim": settings.dim, "random_seed": settings.seed, **loss_settings}
    model = model_resolver.make(settings.name, model_settings, triples_factory=factory).to(device)
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

    entities, relations = (
        _flat([representation() for representation in representations])
        for representations in (model.entity_representations, model.relation_representations)
    )
    trained_with = asdict(settings) | {
        "loop": settings.trained_by[0],
        "loss": loss_resolver.normalize_inst(model.loss),
    }
    del trained_with["model"]
    ours = settings.name in SCORES
    embeddings = Embeddings(
        graph.entities,
        cast(Tensor, entities).cpu(),
        graph.relations,
        None if relations is None else relations.cpu(),
        model=settings.name,
        settings=cast(dict[str, SettingValue], trained_with),
    )
    wrapped = PykeenScorer(model, len(graph.entities), len(graph.relations))
    scorer = embeddings.score().to(wrapped.device) if ours else wrapped
    return Trained(embeddings, scorer, tuple(losses))


def _flat(tables: list[Tensor]) -> Tensor | None:
    """All representations side by side, one row per entity or relation; None if there are none."""
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
def _isolated() -> Iterator[None]:
    """Run pykeen in isolation: restore random generators, silence its log, freeze existing objects for the GC."""
    states = random.getstate(), np.random.get_state()
    logger = logging.getLogger("pykeen")
    level = logger.level
    freezes = not gc.get_freeze_count()
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*pin_memory", category=UserWarning)
        logger.setLevel(logging.ERROR)
        if freezes:
            gc.freeze()
        try:
            yield
        finally:
            if freezes:
                gc.unfreeze()
            logger.setLevel(level)
            random.setstate(states[0])
            np.random.set_state(states[1])
