"""VQA v2: its own files as a source, and the file its test server takes (Goyal et al. 2017)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mm_kptm.data.formats.vision.ok_vqa import read_ok_vqa
from mm_kptm.data.formats.vqa_v2 import VqaAnnotation, VqaQuestion, annotated, read_vqa_annotations, read_vqa_questions
from mm_kptm.data.packing import Packed
from mm_kptm.data.tokenizers.protocol import Tokenizer
from mm_kptm.datasets.object_tags import tags_of
from mm_kptm.datasets.stored_regions import ImageStore, provider_of
from mm_kptm.datasets.vision.sources import check_answers
from mm_kptm.errors import UserError
from mm_kptm.io.atomic import write_json
from mm_kptm.io.records import read_json
from mm_kptm.preprocessing.image_text import ImageTextLayout
from mm_kptm.preprocessing.inputs import InputSource
from mm_kptm.systems.text_format import BERT_FORMAT, TextFormat
from mm_kptm.tasks.example import Example, Row
from mm_kptm.tasks.metrics.vqa import answer_vocabulary, soft_scores
from mm_kptm.tasks.vision.vqa import QuestionSource

LONGEST = 20  #: pieces of a question that are read, as in UNITER and LXMERT


@dataclass(frozen=True)
class VqaV2:
    """The questions of one split, with annotations unless it is a test split."""

    questions: tuple[VqaQuestion, ...]
    annotations: dict[int, VqaAnnotation]  #: by question; empty for a test split

    @classmethod
    def read(cls, questions: str | Path, annotations: str | Path | None = None, *, usual_given: bool = True) -> VqaV2:
        """From the published files; ``usual_given`` says whether annotations name the usual answer (not in OK-VQA).

        Raises:
            UserError: a file is malformed, or the two do not belong together; named with the place.
        """
        asked = read_vqa_questions(questions)
        if annotations is None:
            return cls(asked, {})
        given = (read_vqa_annotations if usual_given else read_ok_vqa)(annotations)
        return cls(asked, annotated(asked, given, questions_file=questions, annotations_file=annotations))

    def answers(self, *, min_count: int = 9) -> tuple[str, ...]:
        """The answers to choose from; ``UserError`` when no answer is that common."""
        found = answer_vocabulary(self.annotations.values(), min_count=min_count)
        if not found:
            raise UserError(
                f"no answer is the most frequent one of {min_count} or more of the {len(self.annotations)} annotated "
                "questions; give more questions or a smaller min_count"
            )
        return found

    def source(
        self,
        answers: Sequence[str],
        tokenizer: Tokenizer,
        store: ImageStore,
        *,
        max_length: int = LONGEST,
        format: TextFormat = BERT_FORMAT,
        tags: bool = False,
    ) -> QuestionSource:
        """The questions with the regions of their images.

        Args:
            answers: the labels to choose from.
            tokenizer: cuts the questions into pieces.
            store: region features or pictures of the images.
            max_length: pieces of a question that are read; the rest is cut off.
            format: how the family of the encoder lays questions out.
            tags: whether the names of an image's objects stand behind every question about it.

        Raises:
            UserError: the store lacks an image, or no question has an answer among the labels; tags as in
                :func:`~mm_kptm.datasets.object_tags.tags_of`.
        """
        layout = ImageTextLayout(tokenizer.specials, format, asks=True)
        framings = [layout(tokenizer.encode(asked.text).ids[:max_length]) for asked in self.questions]
        texts = Packed.of(
            ids=[ids for ids, _ in framings],
            positions=[range(len(ids)) for ids, _ in framings],
            segments=[segments for _, segments in framings],
        )
        place = {answer: number for number, answer in enumerate(answers)}
        scores = [
            {place[answer]: score for answer, score in soft_scores(given).items() if answer in place}
            for given in map(self._given, self.questions)
        ]
        check_answers(list(map(self._given, self.questions)), scores, answers)
        worth = Packed.of(
            answers=[list(row) for row in scores], tenths=[[round(10 * x) for x in row.values()] for row in scores]
        )
        images = store.places_of(str(question.image) for question in self.questions)
        names = tags_of(store, tokenizer, layout) if tags else None
        shown = InputSource(texts, provider_of(store), images, tags=names)
        return QuestionSource(shown, tuple(answers), worth, tuple(map(self._about, self.questions)))

    def _given(self, question: VqaQuestion) -> tuple[str, ...]:
        annotation = self.annotations.get(question.id)
        return () if annotation is None else annotation.answers

    def _about(self, question: VqaQuestion) -> Example:
        annotation = self.annotations.get(question.id)
        return Example(
            id=str(question.id),
            type="" if annotation is None else annotation.answer_type,
            language="en",
            group=f"image-{question.image}",
            target="" if annotation is None else annotation.most_frequent,
            given_answers=self._given(question),
        )


def write_submission(rows: Iterable[Row], path: str | Path) -> None:
    """The file that the test server takes: a list of ``{"question_id": .., "answer": ..}``."""
    answers = [{"question_id": int(row["id"]), "answer": str(row["answer"])} for row in rows]
    write_json(path, answers, ascii_only=True)


def check_submission(path: str | Path, questions: Sequence[VqaQuestion]) -> None:
    """Reject a file that the test server would reject or score wrongly.

    Raises:
        UserError: no list, an entry without the two fields, a question that is missing, foreign or there twice.
    """
    listed = read_json(path)
    if not isinstance(listed, list):
        raise UserError(f"{path} must hold a list of answers")
    asked = {question.id for question in questions}
    seen: set[int] = set()
    for place, entry in enumerate(listed, 1):
        if not isinstance(entry, dict) or set(entry) != {"question_id", "answer"}:
            raise UserError(f"{path}, entry {place} must have the fields question_id and answer and no other")
        id_, answer = entry["question_id"], entry["answer"]
        if not isinstance(id_, int) or isinstance(id_, bool) or not isinstance(answer, str):
            raise UserError(f"{path}, entry {place}: question_id must be a whole number and answer a text")
        if id_ not in asked or id_ in seen:
            wrong = "was answered before" if id_ in seen else "is not one of the split"
            raise UserError(f"{path}, entry {place}: question {id_} {wrong}")
        seen.add(id_)
    if missing := asked - seen:
        raise UserError(f"{path} has no answer to {len(missing)} questions, the first of them {min(missing)}")
