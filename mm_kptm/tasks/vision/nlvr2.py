"""Statements about two images, true or false.

Shapes: B statements, D dim.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mm_kptm.batch import ALL_ROWS, POOLED_ONLY, Encoded, Images, Inputs, Regions, SequenceLayout, Tokens
from mm_kptm.data.packing import Packed
from mm_kptm.errors import UserError
from mm_kptm.nn.assembly import join
from mm_kptm.preprocessing.inputs import IntArray, PixelProvider, RegionProvider, select_texts, tokens
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.system import System
from mm_kptm.tasks.example import Example, ExampleBatch, Row, RowInputs, prediction
from mm_kptm.tasks.heads import ChosenHead, Heads, pooled_dim, requested_heads
from mm_kptm.tasks.protocol import Task
from mm_kptm.tasks.scores import finite_scores
from mm_kptm.tasks.vision.segments import side_segments
from mm_kptm.train.protocol import Source
from mm_kptm.vision.modules.heads import PairedImages, PooledPairs
from mm_kptm.vision.modules.single_stream.concatenated_pairs import ConcatenatedPairs

VERDICTS = ("False", "True")
UNKNOWN = -1  #: verdict of a statement that the data do not judge

Form = Literal["pair", "triplet"]


@dataclass(frozen=True, eq=False)
class ImagePairs(ExampleBatch):
    """Statements with two images each.

    Args:
        text: of the statements.
        regions: of 2 B images, the left and the right one of every statement in turn.
        truth: 0 false, 1 true, :data:`UNKNOWN`, [B].
        about: metadata of each statement.
        images: pixels of the 2 B images, where the model makes the features of the regions.
    """

    text: Tokens
    regions: Regions
    truth: Tensor
    about: tuple[Example, ...]
    images: Images | None = None

    def seen_by(self, system: System) -> ImagePairs:
        """The same with the features of the regions, where a system makes them of pixels."""
        if self.images is None:
            return self
        regions = system.read_raw(Inputs(regions=self.regions, images=self.images)).required("regions", Regions)
        return replace(self, regions=regions, images=None)

    def pairs(self, segments: tuple[int, int] | None = None) -> Inputs:
        """Every statement twice: with the left image (sequence 2k), then with the right one.

        Args:
            segments: of the regions of left and right images, where the encoder tells them apart.
        """
        twice = torch.arange(len(self.text.layout), device=self.text.ids.device).repeat_interleave(2)
        return Inputs(text=select_texts(self.text, twice), regions=self._told_apart(segments))

    def joined(self, segments: tuple[int, int] | None = None) -> Inputs:
        """Every statement once, with the regions of both images in one sequence."""
        lengths = self.regions.layout.lengths
        layout = SequenceLayout(tuple(left + right for left, right in zip(lengths[::2], lengths[1::2], strict=True)))
        return Inputs(text=self.text, regions=replace(self._told_apart(segments), layout=layout))

    def _told_apart(self, segments: tuple[int, int] | None) -> Regions:
        if segments is None:
            return self.regions
        sides = self.regions.layout.sequence_ids(self.regions.features.device) % 2
        kinds = torch.tensor(segments, device=sides.device)
        return replace(self.regions, segments=kinds[sides])


@dataclass(frozen=True, eq=False)
class ImagePairSource:
    """Statements with two images each.

    Args:
        texts: columns as in :class:`~mm_kptm.preprocessing.inputs.InputSource`.
        pictures: the images.
        left: left image of every statement, [S].
        right: right image of every statement, [S].
        truth: verdict of every statement, [S].
        about: metadata of each statement.
    """

    texts: Packed
    pictures: RegionProvider
    left: IntArray
    right: IntArray
    truth: IntArray
    about: tuple[Example, ...]

    def __len__(self) -> int:
        return len(self.about)

    def length(self, index: int) -> int:
        """Tokens of a statement and regions of both images."""
        shown = self.pictures.lengths[self.left[index]] + self.pictures.lengths[self.right[index]]
        return int(self.texts.lengths[index] + shown)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> ImagePairs:
        """The statements of the given indices."""
        chosen = np.asarray(indices, dtype=np.int64)
        images = np.stack([self.left[chosen], self.right[chosen]], axis=1).ravel()
        return ImagePairs(
            tokens(self.texts, chosen),
            self.pictures.regions(images),
            torch.from_numpy(self.truth[chosen]),
            tuple(self.about[index] for index in indices),
            self.pictures.images(images) if isinstance(self.pictures, PixelProvider) else None,
        )


class NLVR2(Task[ImagePairs]):
    """Whether a statement holds of two images (Suhr et al. 2019, NLVR2).

    In the form ``pair`` the statement is read with each image by itself, and the head sees both encodings: all states
    (UNITER's paired attention) or the pooled ones (LXMERT, ViLBERT, Oscar). In the form ``triplet`` it is read once,
    with the regions of both images behind it (VisualBERT; Chen et al. 2020, section 4.2).

    Args:
        system: uses its head ``nlvr2``; without one, or with another form than the head's, a new classifier.
        form: ``pair`` or ``triplet``; that of the head, or ``pair``, when None.

    Raises:
        UserError: the head is of another form.
    """

    name = "nlvr2"
    needs = frozenset({"text", "regions"})
    single_inputs = False
    HEADS = ("nlvr2",)

    def __init__(self, system: System, *, form: Form | None = None) -> None:
        super().__init__(system)
        width = pooled_dim(system)
        build = (lambda: nn.Linear(width, 2)) if form == "triplet" else (lambda: PooledPairs(width))
        self.head = ChosenHead(system, self.HEADS, build)
        head = self.head.of(system)
        self.form: Form = "pair" if isinstance(head, PairedImages | PooledPairs | ConcatenatedPairs) else "triplet"
        if form not in (None, self.form):
            raise UserError(
                f"the head nlvr2 of {system.recipe} reads images in the form {self.form}, not {form}; build the system "
                "without that head for a new one"
            )
        self.segments = side_segments(system)

    @classmethod
    def heads(cls, recipe: Recipe, form: Form | None = None) -> Heads:
        """The heads to ask of :func:`mm_kptm.build`: the published one, unless another form is asked for."""
        return requested_heads(recipe, cls.HEADS) if form is None else {}

    def forward(self, batch: ImagePairs) -> Tensor:
        """Logits of false and true, [B, 2]."""
        head, batch = self.head.of(self.system), batch.seen_by(self.system)
        if self.form == "triplet":
            single: Tensor = head(self.system(batch.joined(self.segments), POOLED_ONLY).pooled)
            return single
        inputs = batch.pairs(self.segments)
        if not isinstance(head, PairedImages):
            both: Tensor = head(self.system(inputs, POOLED_ONLY).pooled)
            return both
        encoded: Encoded = self.system(inputs, replace(ALL_ROWS, pooled=False))
        shown, _ = inputs.repeat_shared()
        joint = text_then_regions(encoded, inputs.required("text", Tokens).layout, shown)
        attended: Tensor = head(*joint)
        return attended

    def loss(self, batch: ImagePairs) -> Tensor:
        """Mean cross-entropy over the statements; an unjudged one costs nothing."""
        return self._losses(self(batch), batch).mean()

    @torch.no_grad()
    def measure(self, batch: ImagePairs) -> dict[str, Tensor]:
        """Accuracy and cross-entropy of each statement."""
        scores = finite_scores(self(batch), "verdicts")
        return {"accuracy": (scores.argmax(1) == batch.truth).float(), "loss": self._losses(scores, batch)}

    def inputs_of_row(self, source: Source[ImagePairs], number: int, row: Row) -> RowInputs:
        """The statement; its two images are in no one picture."""
        batch = source.batch([number], torch.Generator())
        return RowInputs(number, (Inputs(text=batch.text),), complete=False)

    @torch.no_grad()
    def predict(self, batch: ImagePairs) -> list[Row]:
        """The verdict on every statement."""
        chosen = finite_scores(self(batch), "verdicts").argmax(1).tolist()
        return [prediction(about, VERDICTS[place]) for about, place in zip(batch.about, chosen, strict=True)]

    def summary(self, rows: Sequence[Row]) -> dict[str, float]:
        """Consistency: the share of sentences of which every verdict is right, over all their pairs of images."""
        right: dict[str, bool] = defaultdict(lambda: True)
        for row in rows:
            right[str(row["group"])] &= float(row["correct"]) == 1
        return {"consistency": sum(right.values()) / len(right)}

    def _losses(self, scores: Tensor, batch: ImagePairs) -> Tensor:
        return F.cross_entropy(scores, batch.truth, ignore_index=UNKNOWN, reduction="none")


def text_then_regions(encoded: Encoded, texts: SequenceLayout, shown: SequenceLayout) -> tuple[Tensor, SequenceLayout]:
    """All states of every example in one sequence, its text first, and their layout; both streams are equally wide."""
    joint = join(texts, shown, encoded.text.device)
    return joint.rows(encoded.text, encoded.regions), joint.layout
