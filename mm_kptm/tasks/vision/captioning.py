"""Image captioning by an encoder that predicts the words of a caption from the image and the words before them.

Shapes: B captions of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mm_kptm.batch import Inputs, Regions, Tokens
from mm_kptm.data.tokenizers.joining import running_text
from mm_kptm.data.tokenizers.protocol import Tokenizer
from mm_kptm.errors import UserError
from mm_kptm.models.single import SingleStream
from mm_kptm.objectives.rows import RowTargets
from mm_kptm.objectives.tokens import Masking
from mm_kptm.preprocessing.inputs import InputSource
from mm_kptm.systems.system import System
from mm_kptm.systems.text_format import TextFormat
from mm_kptm.tasks.example import Example, ExampleBatch, Row, RowInputs, prediction
from mm_kptm.tasks.metrics.captions import caption_scores, caption_tokens, rouge_l
from mm_kptm.tasks.protocol import Task
from mm_kptm.tasks.scores import finite_scores
from mm_kptm.train.protocol import Source
from mm_kptm.vision.modules.single_stream.caption_decoding import Captioning, beam_search, cut
from mm_kptm.vision.modules.single_stream.caption_mask import CausalCaption
from mm_kptm.vision.objectives.masked_captions import CaptionShare, MaskedCaptions
from mm_kptm.vision.objectives.vlp import VlpPretraining, bidirectional_or_seq2seq

HEAD = "masked-tokens"  #: predicts the words
BETWEEN = "\n"  #: between the references of a prediction

Tags = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class CaptionFormat:
    """Training and decoding of captions in the form of a family of encoders.

    VLP reads ``[CLS]``, the image, ``[SEP]``, the caption under a sequence-to-sequence mask (Zhou et al. 2020, section
    3.1); all others a causal caption that the image does not read, as Oscar (Li et al. 2020, section 4).
    """

    objective: MaskedCaptions | VlpPretraining
    decoding: Captioning

    @classmethod
    def of(
        cls,
        format: TextFormat,
        tokenizer: Tokenizer,
        *,
        max_words: int,
        mask_rate: float = 0.15,
        smoothing: float = 0.1,
    ) -> CaptionFormat:
        """The format of a family.

        Args:
            format: the family's text format.
            tokenizer: of the captions.
            max_words: word pieces of a caption, the [SEP] that ends it included.
            mask_rate: share of a caption's words that are masked, at least one and three at most.
            smoothing: label smoothing of Oscar's form; the released VLP has none.

        Raises:
            UserError: ``max_words`` is below 1.
        """
        specials = tokenizer.specials
        share = CaptionShare(mask_rate, beside=-1 if format.image_first else 1)
        masking = Masking(
            specials.mask_id, (0, len(tokenizer)), frozenset({specials.pad, specials.start}), policy=share
        )
        start = (specials.start, specials.stop) if format.image_first else (specials.start,)
        decoding = Captioning(start, specials.mask_id, specials.stop, max_words, _causal, tag_position=max_words + 1)
        if format.image_first:
            return cls(VlpPretraining(masking, written=1.0), replace(decoding, written=_after_image))
        return cls(MaskedCaptions(masking, smoothing=smoothing), decoding)


def _causal(tokens: Tokens) -> Tokens:
    """The caption, segment 0, written word by word; tags and image do not read it."""
    return replace(tokens, attention_mask=CausalCaption(tokens.segments == 0))


def _after_image(tokens: Tokens) -> Tokens:
    return bidirectional_or_seq2seq(tokens, torch.ones(len(tokens.layout), dtype=torch.bool, device=tokens.ids.device))


@dataclass(frozen=True, eq=False)
class MaskedCaptionBatch(ExampleBatch):
    """Captions with masked words and the images that they describe."""

    targets: RowTargets
    references: tuple[tuple[str, ...], ...]
    tags: Tags | None
    about: tuple[Example, ...]


@dataclass(frozen=True, eq=False)
class CaptioningSource:
    """Captions with images.

    Args:
        shown: the captions in the form of the encoder, with their images; where an image has none, an empty text.
        objective: masks words of the captions.
        references: all captions of the image of each example; empty where none is known.
        about: metadata of each example.
        tags: ids of the names of an image's objects, for each example; None where the encoder reads none.
    """

    shown: InputSource
    objective: MaskedCaptions | VlpPretraining
    references: tuple[tuple[str, ...], ...]
    about: tuple[Example, ...]
    tags: Tags | None = None

    def __len__(self) -> int:
        return len(self.about)

    def length(self, index: int) -> int:
        """Tokens and regions of a caption."""
        return self.shown.length(index)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> MaskedCaptionBatch:
        """The captions of the given indices, with freshly masked words."""
        return MaskedCaptionBatch(
            self.objective.prepare(self.shown.batch(indices, generator), generator),
            tuple(self.references[index] for index in indices),
            None if self.tags is None else tuple(self.tags[index] for index in indices),
            tuple(self.about[index] for index in indices),
        )


class ImageCaptioning(Task[MaskedCaptionBatch]):
    """Image captioning: masked words in training, beam search in evaluation (Zhou et al. 2020; Li et al. 2020).

    Args:
        system: a single-stream encoder with the head masked-tokens.
        format: how captions are trained and decoded.
        tokenizer: of the captions.
        beam_size: hypotheses kept in the search; 1 is greedy decoding.
        length_penalty: added to the log-likelihood of a caption for each of its words.

    Raises:
        UserError: the encoder has two streams, in which the image reads the words to be predicted; a beam without room.
    """

    name = "captioning"
    needs = frozenset({"text", "regions"})
    single_inputs = False

    def __init__(
        self,
        system: System,
        format: CaptionFormat,
        tokenizer: Tokenizer,
        *,
        beam_size: int = 5,
        length_penalty: float = 0.0,
    ) -> None:
        super().__init__(system)
        if not isinstance(system.encoder, SingleStream):
            raise UserError(
                f"captions are written word by word behind the image, which must not read them, but in {system.recipe} "
                "the two streams read each other; take a single-stream encoder such as vlp-base or oscar-base"
            )
        if beam_size < 1:
            raise UserError(f"beam_size is {beam_size}, but a beam holds at least one hypothesis")
        self.format = format
        self.spell: Callable[[Sequence[int]], str] = lambda ids: running_text(
            [tokenizer.vocabulary[id_] for id_ in ids]
        )
        self.beam_size = beam_size
        self.length_penalty = length_penalty

    def loss(self, batch: MaskedCaptionBatch) -> Tensor:
        """The loss of the masked words, as the family averages it."""
        return self.format.objective.loss(self.system, batch.targets)

    @torch.no_grad()
    def measure(self, batch: MaskedCaptionBatch) -> dict[str, Tensor]:
        """The loss of the masked words of each caption; captions are generated by :meth:`predict` alone."""
        losses = self.format.objective.measure(self.system, batch.targets)
        return {"loss": finite_scores(losses, "masked words")}

    @torch.no_grad()
    def captions(self, regions: Regions, tags: Tags | None = None) -> list[str]:
        """The generated caption of every image.

        Args:
            regions: of the images.
            tags: ids of the names of each image's objects, where the encoder reads them.

        Raises:
            UserError: a score is not finite.
        """
        decoding = replace(self.format.decoding, tags=tags)
        found = beam_search(self.system, regions, decoding, width=self.beam_size, length_penalty=self.length_penalty)
        finite_scores(found.scores, "captions")
        return [self.spell(cut(ids, decoding.stop)) for ids in found.best]

    def inputs_of_row(self, source: Source[MaskedCaptionBatch], number: int, row: Row) -> RowInputs:
        """The image that is described; its captions are what is asked."""
        if not isinstance(source, CaptioningSource):
            return RowInputs()
        regions = source.shown.batch([number], torch.Generator()).regions
        return RowInputs(number, (Inputs(regions=regions),), question="What is in the image?", complete=False)

    @torch.no_grad()
    def predict(self, batch: MaskedCaptionBatch) -> list[Row]:
        """The generated caption of each image; ``correct`` is its ROUGE-L, ``references`` what people wrote."""
        inputs = self.system.read_raw(batch.targets.inputs)
        if inputs.regions is None:
            raise UserError("captions describe images, but the inputs have no regions")
        images = list(range(len(batch))) if inputs.image_of is None else inputs.image_of.tolist()
        tags = None
        if batch.tags is not None:
            of_image = dict(zip(images, batch.tags, strict=True))
            tags = tuple(of_image.get(image, ()) for image in range(len(inputs.regions.layout)))
        written = self.captions(inputs.regions, tags)
        return [
            _row(about, written[image], references)
            for about, image, references in zip(batch.about, images, batch.references, strict=True)
        ]

    def summary(self, rows: Sequence[Row]) -> dict[str, float]:
        """BLEU-1 to 4, ROUGE-L, CIDEr and CIDEr-D; published tables call the last one CIDEr, and print it times 100."""
        references = [str(row["references"]).split(BETWEEN) for row in rows]
        found = caption_scores([str(row["answer"]) for row in rows], references)
        return {
            **{f"bleu-{order}": score for order, score in enumerate(found.bleu, 1)},
            "rouge-l": found.rouge_l,
            "cider": found.cider,
            "cider-d": found.cider_d,
        }


def _row(about: Example, caption: str, references: Sequence[str]) -> Row:
    if not references:
        return prediction(about, caption)
    correct = rouge_l([caption_tokens(caption)], [[caption_tokens(text) for text in references]])
    return prediction(about, caption, correct=correct, references=BETWEEN.join(map(_one_line, references)))


def _one_line(text: str) -> str:
    return " ".join(text.split())
