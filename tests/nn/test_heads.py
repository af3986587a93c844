"""Heads read rows, and only the rows that they are given."""

import torch
import torch.nn.functional as F
from torch import nn

from mm_kptm.nn.heads import Classifier, Pooler, TiedVocabulary, Transform


def test_the_vocabulary_head_has_no_matrix_of_its_own() -> None:
    word = nn.Embedding(20, 8)
    head = TiedVocabulary(Transform(8), word)
    assert head.word is word
    assert sum(p.numel() for p in head.parameters()) == 8 * 8 + 8 + 2 * 8 + 20 * 8 + 20


def test_vocabulary_scores_are_products_with_the_words() -> None:
    torch.manual_seed(0)
    word = nn.Embedding(20, 8)
    head, rows = TiedVocabulary(Transform(8), word), torch.randn(3, 8)
    with torch.no_grad():
        head.bias.copy_(torch.arange(20.0))
    hidden = F.layer_norm(F.gelu(head.transform.dense(rows)), (8,), eps=1e-12)
    torch.testing.assert_close(head(rows), hidden @ word.weight.T + torch.arange(20.0))


def test_heads_take_no_rows() -> None:
    word = nn.Embedding(20, 8)
    nothing = torch.zeros(0, 8)
    assert TiedVocabulary(Transform(8), word)(nothing).shape == (0, 20)
    assert Classifier(8, 5)(nothing).shape == (0, 5)
    assert Pooler(8)(nothing).shape == (0, 8)


def test_the_pooler_is_tanh_of_a_dense_layer() -> None:
    pooler, first = Pooler(4), torch.randn(2, 4)
    torch.testing.assert_close(pooler(first), torch.tanh(pooler.dense(first)))


def test_the_classifier_widens_to_twice_the_dim_unless_told() -> None:
    assert Classifier(8, 5).out.in_features == 16
    assert Classifier(8, 5, inner_dim=3).out.in_features == 3
