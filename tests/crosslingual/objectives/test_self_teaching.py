"""Self-teaching: a teacher who agrees, and how the reductions differ."""

import pytest
import torch

from mm_kptm.crosslingual.objectives.self_teaching import class_teaching, edge_teaching, token_teaching
from mm_kptm.errors import UserError


def test_a_teacher_who_agrees_teaches_nothing_and_the_reductions_differ() -> None:
    scores, teacher = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    for teach in (class_teaching, token_teaching):
        assert float(teach(teacher, teacher)) == pytest.approx(0, abs=1e-6)
    torch.testing.assert_close(token_teaching(scores, teacher) / 5, class_teaching(scores, teacher, temperature=1.0))
    edges = edge_teaching(scores[0], teacher[0], temperature=1.0)
    torch.testing.assert_close(edges, token_teaching(scores[:1], teacher[:1]) / 5)
    with pytest.raises(UserError, match=r"scores have shape \[3, 5\], but the teacher's have \[2, 5\]"):
        class_teaching(scores, teacher[:2])
