"""Question answering as a pretraining objective (LXMERT), and reuse of its head in fine-tuning.

Shapes: B examples, A answers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mm_kptm.batch import POOLED_ONLY, Encoded, Inputs
from mm_kptm.errors import UserError
from mm_kptm.nn.heads import Classifier
from mm_kptm.objectives.order import ClassifiedTexts, PooledClasses
from mm_kptm.objectives.rows import mean
from mm_kptm.objectives.spec import REGIONS, TEXTS, ObjectiveSpec
from mm_kptm.systems.system import System
from mm_kptm.vision.objectives.lxmert import ANSWERS, NO_ANSWER, marked_answers

_ARTICLES = ("a ", "an ", "the ")
_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_PLAIN = {word: str(number) for number, word in enumerate(_NUMBERS, start=1)} | {"grey": "gray"}


class QuestionAnswering(PooledClasses):
    """Question answering from the pooled state over the answers of all pretraining questions.

    Captions, which are no questions, are ignored.

    Args:
        num_answers: size of the answer vocabulary, A.
    """

    name = "question-answering"

    def __init__(self, num_answers: int) -> None:
        self.sizes = {"num_answers": num_answers}

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> ClassifiedTexts:
        """Nothing is sampled.

        Raises:
            UserError: the texts have no answer labels.
        """
        answers = marked_answers(inputs)
        if answers is None:
            raise UserError("question-answering reads token labels of answers, but the inputs have none")
        return ClassifiedTexts(inputs, answers)

    def losses(self, system: System, batch: ClassifiedTexts) -> Tensor:
        """The cross-entropy of every question, 0 for captions, [B]."""
        encoded: Encoded = system(batch.inputs, POOLED_ONLY)
        scores = system.head(self.name)(encoded.pooled)  # a head is a module to mypy
        return F.cross_entropy(scores, batch.classes, ignore_index=NO_ANSWER, reduction="none")

    def loss(self, system: System, batch: ClassifiedTexts) -> Tensor:
        """The mean over questions."""
        losses = self.losses(system, batch)
        return mean(losses[batch.classes != NO_ANSWER])


def plain_answer(answer: str) -> str:
    """An answer as LXMERT's list of pretraining answers writes it.

    Lower case, no full stop at the end, no article in front, digits for the words one to ten, gray for grey.

    >>> [plain_answer(answer) for answer in ("Two.", "The man", "grey", "a")]
    ['2', 'man', 'gray', 'a']
    """
    answer = answer.lower()
    if answer.endswith("."):
        answer = answer[:-1].strip()
    for article in _ARTICLES:
        if answer.startswith(article):
            answer = answer.removeprefix(article).strip()
    return _PLAIN.get(answer, answer)


def matching_answers(answers: Sequence[str], known: Sequence[str]) -> Tensor:
    """Index of every answer in ``known``, :data:`NO_ANSWER` where it is missing, [A]."""
    numbers = {plain_answer(answer): number for number, answer in enumerate(known)}
    numbers |= {answer: number for number, answer in enumerate(known)}
    return torch.tensor([numbers.get(plain_answer(answer), NO_ANSWER) for answer in answers], dtype=torch.long)


@torch.no_grad()
def reuse_answers(head: Classifier, answers: Sequence[str], pretrained: Classifier, known: Sequence[str]) -> int:
    """Initialise a head for ``answers`` from one pretrained on ``known``; returns the number of shared answers.

    Copies the hidden layer and the output row of every answer that :func:`plain_answer` finds among the known ones; the
    other rows become zero, as in the released code of Tan and Bansal (2019).

    Raises:
        UserError: a head does not have as many answers as are named, or the two differ in width.
    """
    for which, names in ((head, answers), (pretrained, known)):
        if which.out.out_features != len(names):
            raise UserError(f"the head has {which.out.out_features} answers, but {len(names)} are named")
    if head.transform.dense.weight.shape != pretrained.transform.dense.weight.shape:
        shapes = [list(which.transform.dense.weight.shape) for which in (head, pretrained)]
        raise UserError(f"a head of width {shapes[0]} cannot start from one of width {shapes[1]}; build both alike")
    head.transform.load_state_dict(pretrained.transform.state_dict())
    rows = matching_answers(answers, known).to(head.out.weight.device)
    found = rows != NO_ANSWER
    for ours, theirs in ((head.out.weight, pretrained.out.weight), (head.out.bias, pretrained.out.bias)):
        ours.zero_()
        ours[found] = theirs[rows[found]]
    return int(found.sum())


def draw_answers(scores: Tensor, generator: torch.Generator) -> Tensor:
    """One answer for every question, drawn in proportion to its soft scores [B, A]; :data:`NO_ANSWER` for none, [B]."""
    answered = scores.sum(1) > 0
    drawn = torch.full((len(scores),), NO_ANSWER, dtype=torch.long)
    if answered.any():
        drawn[answered] = torch.multinomial(scores[answered], 1, generator=generator).squeeze(1)
    return drawn


QUESTION_ANSWERING = ObjectiveSpec(
    QuestionAnswering.name,
    "Tan and Bansal 2019, LXMERT, EMNLP, section 3.1.3",
    lambda context: QuestionAnswering(len(context.offered(ANSWERS))),
    needs=(TEXTS, REGIONS, ANSWERS),
)
