"""Systems: an encoder with its heads and the recipe that it was built from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mm_kptm.batch import ALL_ROWS, Encoded, Inputs, OutputRows
from mm_kptm.errors import UserError
from mm_kptm.systems.encoder import DualEncoder, Encoder, HiddenState, LayeredEncoder
from mm_kptm.systems.text_tokenizer import TextTokenizer

if TYPE_CHECKING:
    from PIL.Image import Image


class System(nn.Module):
    """An encoder with heads, as returned by :func:`mm_kptm.build` and :func:`mm_kptm.load`.

    Calling it runs the encoder; heads are accessed by name and applied to the wanted states.

    Attributes:
        added: additions to the encoder with their sizes, by name, innermost first.
        frontends: modules before the encoder, which turn raw inputs into its streams.
        frontend_sizes: their sizes, by name.
        data: fingerprints of the training data, by name; empty if unknown.
        labels: names of the classes of heads in the order of their logits, by head, where they are known.
    """

    def __init__(
        self,
        encoder: nn.Module,
        heads: Mapping[str, nn.Module],
        *,
        recipe: str,
        sizes: Mapping[str, Any],
        head_sizes: Mapping[str, Mapping[str, Any]],
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = nn.ModuleDict(heads)
        self.frontends = nn.ModuleDict()
        self.recipe = recipe
        self.sizes = dict(sizes)
        self.head_sizes = {name: dict(sizes) for name, sizes in head_sizes.items()}
        self.added: dict[str, dict[str, Any]] = {}
        self.frontend_sizes: dict[str, dict[str, Any]] = {}
        self.data: dict[str, str] = {}
        self.labels: dict[str, tuple[str, ...]] = {}
        self._tokenizer: TextTokenizer | None = None

    @property
    def has_tokenizer(self) -> bool:
        """Whether it was loaded from a folder with a tokenizer, or given one."""
        return self._tokenizer is not None

    @property
    def tokenizer(self) -> TextTokenizer:
        """From texts to inputs: ``system(system.tokenizer(["..."]))``.

        Raises:
            UserError: it has none.
        """
        if self._tokenizer is None:
            raise UserError(
                f"this {self.recipe} has no tokenizer: load it from a folder with vocab.txt, tokenizer.json or "
                "vocab.json and merges.txt in it"
            )
        return self._tokenizer

    @tokenizer.setter
    def tokenizer(self, tokenizer: TextTokenizer) -> None:
        self._tokenizer = tokenizer

    @property
    def dim(self) -> int:
        """Width of the encoder's states."""
        return cast(Encoder, self.encoder).dim

    @property
    def pooled_dim(self) -> int:
        """Width of the encoder's pooled vectors."""
        return int(getattr(self.encoder, "pooled_dim", self.dim))

    def forward(self, inputs: Inputs, output_rows: OutputRows = ALL_ROWS) -> Encoded:
        """Encode; see :class:`~mm_kptm.batch.OutputRows` for what to ask of the last layer.

        Raises:
            UserError: the inputs are of another type, or a text has no token.
        """
        self._check(inputs)
        encoded: Encoded = self.encoder(self.read_raw(inputs), output_rows)
        return encoded

    if TYPE_CHECKING:
        __call__ = forward

    def read_raw(self, inputs: Inputs) -> Inputs:
        """The inputs with raw streams, such as pixels, turned into those that the encoder reads; others stay.

        Features of regions that are stored as float16 get the type of the weights here, on the device.
        """
        regions, weight = inputs.regions, next(self.parameters(), None)
        if regions is not None and weight is not None and (wide := regions.widened(weight.dtype)) is not regions:
            inputs = inputs.with_streams(regions=wide)
        for frontend in self.frontends.values():
            inputs = frontend(inputs)
        return inputs

    def hidden_states(self, inputs: Inputs) -> Iterator[HiddenState]:
        """The states at every depth, from the embeddings on; see :class:`~mm_kptm.systems.encoder.LayeredEncoder`.

        Raises:
            UserError: the encoder does not show them, the inputs are of another type, or a text has no token.
        """
        self._check(inputs)
        if not isinstance(self.encoder, LayeredEncoder):
            raise UserError(
                f"the states of every depth were asked of {self.recipe}, but its encoder, "
                f"{type(self.encoder).__name__}, has no method hidden_states; give it one that yields them"
            )
        return self.encoder.hidden_states(self.read_raw(inputs))

    def _check(self, inputs: Inputs) -> None:
        if not isinstance(inputs, Inputs):
            raise UserError(
                f"{self.recipe} reads Inputs, not a value of type {type(inputs).__name__}; make them of texts with "
                "system.tokenizer([...])"
            )
        inputs.check_texts()

    def head(self, name: str) -> nn.Module:
        """The head of that name.

        Raises:
            UserError: the system was built without it.
        """
        if name not in self.heads:
            raise UserError(
                f"{self.recipe} was built without the head {name!r}; it has {', '.join(self.heads) or 'none'}"
            )
        return self.heads[name]

    def encode_text(
        self, texts: Sequence[str], *, languages: Sequence[str] | None = None, batch_size: int = 64
    ) -> Tensor:
        """L2-normalised vectors of texts, in the space of :meth:`encode_images`, [number of texts, D].

        Args:
            texts: in any language that the system reads.
            languages: the code of each, where the system embeds languages.
            batch_size: texts per forward pass; those of similar length go together.

        Raises:
            UserError: the system has no image tower beside its text tower, or no tokenizer.
        """
        encoder, device = self._dual("texts"), next(self.parameters()).device
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        vectors: list[Tensor] = []
        with self._at_rest():
            for first in range(0, len(order), batch_size):
                chosen = order[first : first + batch_size]
                spoken = None if languages is None else [languages[place] for place in chosen]
                inputs = self.tokenizer([texts[place] for place in chosen], languages=spoken)
                vectors.append(F.normalize(encoder.embed_text(inputs.to(device)), dim=-1))
        if not vectors:
            return torch.zeros(0, self.dim, device=device)
        found = torch.cat(vectors)
        return found[torch.tensor(order, device=found.device).argsort()]

    def encode_images(self, images: Sequence[Image], *, batch_size: int = 64) -> Tensor:
        """L2-normalised vectors of pictures, in the space of :meth:`encode_text`, [number of images, D].

        Args:
            images: pictures of any size and mode.
            batch_size: pictures per forward pass.

        Raises:
            UserError: the system has no text tower beside its image tower.
        """
        encoder, device = self._dual("pictures"), next(self.parameters()).device
        vectors: list[Tensor] = []
        with self._at_rest():
            for first in range(0, len(images), batch_size):
                pixels = encoder.prepare_images(images[first : first + batch_size]).to(device)
                vectors.append(F.normalize(encoder.embed_images(pixels), dim=-1))
        return torch.cat(vectors) if vectors else torch.zeros(0, self.dim, device=device)

    def _dual(self, what: str) -> DualEncoder:
        if not isinstance(self.encoder, DualEncoder):
            raise UserError(
                f"{what} were to be encoded into one space with pictures and texts, but {self.recipe} has no two "
                "towers; take one of the family clip, align or dual-tower"
            )
        return self.encoder

    @contextmanager
    def _at_rest(self) -> Iterator[None]:
        """Evaluation mode without gradients, then the mode from before."""
        training = self.training
        self.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            self.train(training)
