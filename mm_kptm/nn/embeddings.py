"""Input embeddings of text.

Shapes: T token rows, D dim.
"""

import torch
from torch import Tensor, nn

from mm_kptm.batch import Tokens
from mm_kptm.errors import UserError
from mm_kptm.nn.sublayers import bert_norm

_PLURALS = {
    "word": "words", "segment": "segments", "language": "languages", "entity": "entities", "relation": "relations"
}  # fmt: skip


class TextEmbedding(nn.Module):
    """Word + position + segment (+ language) (+ task), norm, dropout (Devlin et al. 2019, section 3).

    Positions come with the tokens; ``position_offset`` is added to them first (0 for BERT, padding index + 1 for
    RoBERTa). ``num_segments``, ``num_languages`` or ``num_tasks`` of 0 leaves that table out. A table of one
    segment is added to every token, whatever its segment id (RoBERTa in Hugging Face's files).

    Raises:
        UserError: a word, position, segment, language or task has no row in its table (looked at on the CPU, and on a
            CUDA device outside training), or languages are read but not given.
    """

    def __init__(
        self,
        vocab_size: int,
        dim: int,
        *,
        max_positions: int = 512,
        num_segments: int = 2,
        num_languages: int = 0,
        num_tasks: int = 0,
        position_offset: int = 0,
        norm: nn.Module | None = None,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.word = nn.Embedding(vocab_size, dim)
        self.position = nn.Embedding(max_positions, dim)
        self.segment = nn.Embedding(num_segments, dim) if num_segments else None
        self.language = nn.Embedding(num_languages, dim) if num_languages else None
        self.task = nn.Embedding(num_tasks, dim) if num_tasks else None
        self.norm = bert_norm(dim) if norm is None else norm
        self.drop = nn.Dropout(dropout)
        self.position_offset = position_offset

    def forward(self, tokens: Tokens) -> Tensor:
        """The embedding of every token, [T, D]; ``tokens.vectors`` replace the word embeddings when given."""
        positions = tokens.positions + self.position_offset
        self._check_positions(positions)
        x = self.words(tokens) + self.position(positions)
        if self.segment is not None and len(self.segment.weight) == 1:
            x = x + self.segment.weight
        elif self.segment is not None:
            self._check_ids(tokens.segments, self.segment, "segment", "number segments from 0", "num_segments")
            x = x + self.segment(tokens.segments)
        if self.language is not None:
            if tokens.languages is None:
                raise UserError("this model embeds the language of every token, but the tokens carry no languages")
            self._check_ids(tokens.languages, self.language, "language", "name the model's languages", "num_languages")
            x = x + self.language(tokens.languages)
        if self.task is not None:
            x = x + (self.task.weight[0] if tokens.tasks is None else self.task(self._known(tokens.tasks)))
        return self.drop(self.norm(x))

    def words(self, tokens: Tokens) -> Tensor:
        """The row of every token in the word table, or its vector in ``tokens.vectors``, [T, D].

        Raises:
            UserError: an id has no row in the table.
        """
        if tokens.vectors is not None:
            return tokens.vectors
        remedy = "encode the text with the tokenizer of the model"
        self._check_ids(tokens.ids, self.word, "word", remedy, "vocab_size")
        found: Tensor = self.word(tokens.ids)
        return found

    def _check_ids(self, ids: Tensor, table: nn.Embedding, what: str, remedy: str, size: str) -> None:
        """Refuse ids without a row, which a device would answer with a traceback or with the end of the process.

        On a CUDA device the ids are looked at outside training alone, where waiting for them costs little.
        """
        if not len(ids) or (ids.is_cuda and self.training):
            return
        rows = table.num_embeddings
        least, most = torch.stack(ids.aminmax()).tolist()
        if least < 0 or most >= rows:
            wrong = least if least < 0 else most
            larger = f", or build it with {size}={most + 1}" if least >= 0 else ""
            raise UserError(
                f"a token has the {what} id {wrong}, but the table of {_PLURALS[what]} has {rows} rows, "
                f"0 to {rows - 1}; {remedy}{larger}"
            )

    def _known(self, tasks: Tensor) -> Tensor:
        rows = 0 if self.task is None else self.task.num_embeddings
        if not tasks.is_cuda and len(tasks) and (last := int(tasks.max())) >= rows:
            raise UserError(
                f"a token is shown for task {last}, but the model has {rows} tasks; build it with num_tasks={last + 1}"
            )
        return tasks

    def _check_positions(self, positions: Tensor) -> None:
        rows = self.position.num_embeddings
        if not len(positions) or (positions.is_cuda and self.training):
            return
        first, last = torch.stack(positions.aminmax()).tolist()
        if last >= rows:
            raise UserError(
                f"a token stands at position {last}, but the model has {rows} positions; cut the text or build the "
                f"model with max_positions={last + 1}"
            )
        if first < 0:
            raise UserError(f"a token stands at position {first}, but the first of the {rows} positions is 0")


def most_tokens(model: nn.Module) -> int | None:
    """Length of the longest text that a model has positions for; None where no table of positions is asked."""
    tables = [part for part in model.modules() if isinstance(part, TextEmbedding) and part.position is not None]
    return min((part.position.num_embeddings - part.position_offset for part in tables), default=None)


def sinusoids(count: int, dim: int) -> Tensor:
    r"""Sinusoidal position embeddings, [count, dim] (Vaswani et al. 2017, section 3.5).

    .. math:: s_{p, 2j} = \sin(p / 10000^{2j/D}), \quad s_{p, 2j+1} = \cos(p / 10000^{2j/D})
    """
    evens = torch.arange(0, dim, 2, dtype=torch.double)
    angles = torch.arange(count, dtype=torch.double)[:, None] / 10000 ** (evens / dim)
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)[:, :dim].float()
