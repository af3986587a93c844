"""Number World's texts about scenes in the layout of a family of encoders."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from mm_kptm.data.packing import Packed
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.preprocessing.image_text import ImageTextLayout
from mm_kptm.preprocessing.inputs import InputSource
from mm_kptm.suites.number_world.datasets import sources as number_world
from mm_kptm.suites.number_world.datasets.other_sources import seen
from mm_kptm.suites.number_world.datasets.settings import NumberWorldData
from mm_kptm.suites.number_world.generator import captions as scene_captions
from mm_kptm.suites.number_world.generator.language import vocabulary
from mm_kptm.suites.number_world.generator.numerals import LANGUAGES
from mm_kptm.suites.number_world.generator.scene import FEATURES, compose
from mm_kptm.suites.number_world.generator.splits import SIDES_OF_A_SPLIT, scene_masks
from mm_kptm.suites.number_world.generator.wordings.statement_wording import STATED
from mm_kptm.systems.text_format import TextFormat
from mm_kptm.tasks.example import Example
from mm_kptm.tasks.vision.captioning import HEAD, CaptionFormat, CaptioningSource, ImageCaptioning

#: Words of the longest caption: five numbers with their colours, what stands between them, and its end.
CAPTION_LENGTH = 36


def laid_out(
    said: Sequence[tuple[Sequence[Sequence[str]], str]], format: TextFormat, *, segments: Sequence[int] = ()
) -> Packed:
    """Texts as a family reads them.

    Args:
        said: the parts of each text, each a sequence of words, and its language.
        format: of the family.
        segments: of the parts in turn; those of the family's layout when empty.
    """
    layout = ImageTextLayout(number_world.specials(), format)
    framings = [layout(*(vocabulary().encode(part) for part in parts)) for parts, _ in said]
    kinds = [[segments[kind] for kind in own] if segments else own for _, own in framings]
    packed = Packed.of(
        ids=[ids for ids, _ in framings], positions=[range(len(ids)) for ids, _ in framings], segments=kinds
    )
    spoken = np.array([LANGUAGES.index(language) for _, language in said], dtype=np.int64)
    return Packed(packed.offsets, {**packed.columns, "languages": np.repeat(spoken, packed.lengths)})


def captioning(data: NumberWorldData, request: DataRequest) -> PreparedData:
    """Captions of scenes in the first of the languages; every wording of the language is a reference."""
    format = CaptionFormat.of(request.recipe.text, data.tokenizer(), max_words=CAPTION_LENGTH)

    def source(side: str) -> CaptioningSource:
        part, draw = data.side(side), data.draw("captioning", side)
        allowed, focus = scene_masks(part, data.numbers)
        scenes = compose(
            part.side,
            data.count(side),
            draw.child("scenes"),
            numbers=data.numbers,
            sizes=part.sizes,
            allowed=allowed,
            focus=focus,
        )
        language = part.languages[0]
        forms = range(len(STATED[language]["caption"]))
        captions = [
            [scene_captions.describe(scenes.things(scene), language, form) for form in forms]
            for scene in range(len(scenes))
        ]
        texts = [((own[scene % len(forms)].words,), language) for scene, own in enumerate(captions)]
        return CaptioningSource(
            shown=InputSource(
                laid_out(texts, request.recipe.text),
                seen(scenes, data.vision, data.draw("shuffled crops", side)),
                np.arange(len(scenes)),
            ),
            objective=format.objective,
            references=tuple(tuple(" ".join(one.words) for one in own) for own in captions),
            about=tuple(
                Example(f"caption-{part.split}-{side}-{scene:06d}", "scene", language, f"scene-{scene}", own[0].text)
                for scene, own in enumerate(captions)
            ),
        )

    return PreparedData(
        sources={side: partial(source, side) for side in SIDES_OF_A_SPLIT},
        model=lambda system: ImageCaptioning(system, format, data.tokenizer(), beam_size=2),
        sizes={"vocab_size": len(vocabulary()), "region_dim": FEATURES},
        heads={HEAD: {}},
        fingerprints=data.fingerprints,
    )


CAPTIONING_SUPPLY = TaskDataset(ImageCaptioning, NumberWorldData, captioning)
