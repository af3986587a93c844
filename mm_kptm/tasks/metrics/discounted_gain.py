"""Normalised discounted cumulative gain of ranked documents, as XGLUE scores web page ranking."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mm_kptm.errors import UserError


def ndcg(labels: Sequence[float], predictions: Sequence[float]) -> float | None:
    r"""nDCG of a query's documents over all ranks, with linear gains; None with fewer than two documents.

    .. math:: \mathrm{DCG} = \sum_{r} \frac{\mathrm{label}_r}{\log_2(r + 1)}

    Documents of equal prediction share the mean discount of their ranks, because systems of XGLUE rank by predicted
    labels, where ties are the rule.

    Args:
        labels: relevance of each document, 0 to 4 in XGLUE.
        predictions: score of each document.

    Raises:
        UserError: the numbers of labels and predictions differ.

    >>> round(ndcg([1, 0], [0, 1]), 4)
    0.6309
    """
    if len(labels) != len(predictions):
        raise UserError(f"{len(predictions)} predictions rank {len(labels)} documents; score every document once")
    from sklearn.metrics import ndcg_score  # slow to import

    return float(ndcg_score([labels], [predictions])) if len(labels) > 1 else None


def mean_ndcg(queries: Iterable[tuple[Sequence[float], Sequence[float]]]) -> float:
    """Mean nDCG of (labels, predictions) of each query; queries with fewer than two documents are left out.

    Raises:
        UserError: no query has two documents.
    """
    scores = [score for labels, predictions in queries if (score := ndcg(labels, predictions)) is not None]
    if not scores:
        raise UserError("no query has two documents, so that there is nothing to rank; check the column of queries")
    return sum(scores) / len(scores)
