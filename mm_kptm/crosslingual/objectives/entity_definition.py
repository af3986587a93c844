"""XLM-K: a masked mention is contrasted with the description of its entity, in both directions, with queues.

Shapes: B sentences, n sentences with an entity, K rows of a queue, D dim, P hidden rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mm_kptm.batch import Inputs, Movable, Tokens
from mm_kptm.errors import UserError
from mm_kptm.objectives.tokens import TokenMasker
from mm_kptm.systems.system import System


class RunningBatchNorm(nn.Module):
    """Batch normalisation whose running statistics are parameters that no gradient reaches, so that they are saved."""

    def __init__(self, dim: int, *, affine: bool, eps: float = 1e-12, momentum: float = 0.1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim)) if affine else None
        self.bias = nn.Parameter(torch.zeros(dim)) if affine else None
        self.running_mean = nn.Parameter(torch.zeros(dim), requires_grad=False)
        self.running_var = nn.Parameter(torch.ones(dim), requires_grad=False)
        self.eps = eps
        self.momentum = momentum

    def forward(self, x: Tensor) -> Tensor:
        """[B, D] -> [B, D]; by the statistics of the batch in training, of which there must be two rows."""
        mean, variance = self.running_mean.detach(), self.running_var.detach()
        batch = self.training and len(x) > 1
        return F.batch_norm(x, mean, variance, self.weight, self.bias, batch, self.momentum, self.eps)


class Projection(nn.Module):
    """Linear maps without bias, each normalised over the batch, with ReLU between (code of Jiang et al. 2022)."""

    def __init__(self, dim: int, num_layers: int) -> None:
        super().__init__()
        if num_layers < 1:
            raise UserError(f"a projection has at least one layer, not {num_layers}")
        self.linears = nn.ModuleList(nn.Linear(dim, dim, bias=False) for _ in range(num_layers))
        self.norms = nn.ModuleList(RunningBatchNorm(dim, affine=place < num_layers - 1) for place in range(num_layers))

    def forward(self, x: Tensor) -> Tensor:
        """[B, D] -> [B, D]."""
        *earlier, last = zip(self.linears, self.norms, strict=True)
        for linear, norm in earlier:
            x = norm(linear(x)).relu()
        projected: Tensor = last[1](last[0](x))
        return projected


class DefinitionContrast(nn.Module):
    """Projections of mentions and of descriptions, and the queues of negatives of both directions."""

    def __init__(self, dim: int, *, num_layers: int = 2, queue_size: int = 32768) -> None:
        super().__init__()
        self.word = Projection(dim, num_layers)
        self.document = Projection(dim, num_layers)
        self.documents = nn.Parameter(torch.randn(queue_size, dim) / dim**0.5, requires_grad=False)
        self.words = nn.Parameter(torch.randn(queue_size, dim) / dim**0.5, requires_grad=False)

    @torch.no_grad()
    def enqueue(self, words: Tensor, documents: Tensor) -> None:
        """Push states [B, D] at the end, and drop the oldest; of more than the queue holds, the last ones stay."""
        for queue, states in ((self.words, words), (self.documents, documents)):
            queue.copy_(torch.cat([queue, states.to(queue.dtype)])[-len(queue) :])


def queued_contrast(queries: Tensor, keys: Tensor, queue: Tensor, *, temperature: float, normalised: bool) -> Tensor:
    """The contrast of every query with its key among all queries, keys and the queue, and of every key alike, [2 n].

    Args:
        queries: row i belongs to row i of the keys, [n, D].
        keys: the positives, [n, D].
        queue: further negatives, [K, D].
        temperature: divides the scores.
        normalised: whether vectors are brought to length one first (norms below 1e-4 count as that).
    """
    if normalised:
        queries, keys, queue = (F.normalize(x, dim=-1, eps=1e-4) for x in (queries, keys, queue))
    count = len(queries)
    own = torch.arange(count, device=queries.device)
    losses = []
    for mine, theirs in ((queries, keys), (keys, queries)):
        scores = mine @ torch.cat([mine, theirs, queue]).T / temperature
        scores = scores.masked_fill(F.one_hot(own, scores.shape[1]).bool(), float("-inf"))
        losses.append(F.cross_entropy(scores, count + own, reduction="none"))
    return torch.cat(losses)


@dataclass(frozen=True, eq=False)
class DefinedMentions(Movable):
    """Sentences with hidden tokens, descriptions of an entity of each, and where its mention begins."""

    text: Tokens
    rows: Tensor  #: hidden rows, [P]
    labels: Tensor  #: what stood there, [P]
    documents: Tokens
    starts: Tensor  #: row of the first token of the mention, -1 where a sentence has none, [B]

    def __len__(self) -> int:
        return len(self.text.layout)


class EntityDefinition:
    """Masked tokens, and the description of the entity that a sentence mentions (Jiang et al. 2022, section 3.2).

    The text of the inputs and, as their target, one description per sentence, perhaps in another language;
    ``token_labels["mention"]`` of the text is 1 at the first token of the mention. Heads: ``entity-definition`` and
    ``masked-tokens``.

    Args:
        masking: hides tokens of the sentences; descriptions stay as they are.
        layer: depth whose states are contrasted, 0 being the embeddings; -1 the last.
        temperature: divides the scores.
        normalised: whether vectors have length one.
        word_scale: weight of finding the description of a word.
        document_scale: weight of finding the word of a description.
    """

    name = "entity-definition"

    def __init__(
        self,
        masking: TokenMasker,
        *,
        layer: int = -1,
        temperature: float = 0.1,
        normalised: bool = True,
        word_scale: float = 1.0,
        document_scale: float = 1.0,
    ) -> None:
        self.masking = masking
        self.layer = layer
        self.temperature = temperature
        self.normalised = normalised
        self.word_scale = word_scale
        self.document_scale = document_scale

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> DefinedMentions:
        """Sentences with hidden tokens beside the descriptions.

        Raises:
            UserError: there is no text, no description, or no label of mentions; or they differ in number.
        """
        text, documents = inputs.text, inputs.target
        if text is None or documents is None or text.token_labels is None or "mention" not in text.token_labels:
            raise UserError(
                "entity-definition reads sentences and descriptions, so the inputs need a text with the token label "
                "mention and a target"
            )
        if len(text.layout) != len(documents.layout):
            raise UserError(
                f"every sentence needs a description, but there are {len(text.layout)} and {len(documents.layout)}"
            )
        hidden, rows = self.masking.mask(text, generator)
        firsts = text.token_labels["mention"].bool().nonzero().squeeze(1)
        starts = torch.full((len(text.layout),), -1, device=text.ids.device)
        starts[text.layout.sequence_ids(firsts.device)[firsts].flip(0)] = firsts.flip(0)
        return DefinedMentions(replace(hidden, token_labels=None), rows, text.ids[rows], documents, starts)

    def states(self, system: System, batch: DefinedMentions) -> tuple[Tensor, Tensor, Tensor]:
        """Final states of the sentences, [T, D], and what is projected of mentions and of documents, [B, D] each."""
        depths = [stream.x for stream in system.hidden_states(Inputs(text=batch.text))]
        documents = [stream.x for stream in system.hidden_states(Inputs(text=batch.documents))]
        firsts = batch.text.layout.starts(batch.starts.device)
        words = depths[self.layer][torch.where(batch.starts < 0, firsts, batch.starts)]
        return depths[-1], words, documents[self.layer][batch.documents.layout.starts(firsts.device)]

    def losses(self, system: System, batch: DefinedMentions) -> dict[str, Tensor]:
        """Cross-entropies of ``masked`` tokens [P], of ``word2doc`` and of ``doc2word``, [2 n] each.

        In training the projected states join the queues afterwards.
        """
        final, words, documents = self.states(system, batch)
        head = cast(DefinitionContrast, system.head(self.name))
        words, documents = head.word(words), head.document(documents)
        scores = system.head("masked-tokens")(final[batch.rows])
        linked = batch.starts >= 0
        contrast = partial(queued_contrast, temperature=self.temperature, normalised=self.normalised)
        queues = head.documents.detach().clone(), head.words.detach().clone()
        found = {
            "masked": F.cross_entropy(scores, batch.labels, reduction="none"),
            "word2doc": contrast(words[linked], documents[linked], queues[0]),
            "doc2word": contrast(documents[linked], words[linked], queues[1]),
        }
        if system.training:
            head.enqueue(words.detach(), documents.detach())
        return found

    def loss(self, system: System, batch: DefinedMentions) -> Tensor:
        """The mean over hidden tokens, and the weighted means of the two contrasts."""
        found = self.losses(system, batch)
        scales = {"masked": 1.0, "word2doc": self.word_scale, "doc2word": self.document_scale}
        return torch.stack(
            [scale * (found[name].sum() / max(len(found[name]), 1)) for name, scale in scales.items()]
        ).sum()
