"""A stream is read once, in columns, whatever the ends of its sentences."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mm_kptm.crosslingual.corpora.token_stream import TokenStream
from mm_kptm.errors import UserError

STOP = 1


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 4), st.integers(1, 7))
def test_every_token_but_the_last_of_each_column_is_read_once(count: int, columns: int, length: int) -> None:
    ids = [*range(10, 9 + count), STOP]
    stream = TokenStream.of(ids, columns=columns, length=length, stop=STOP)
    batches = [stream.batch(number) for number in range(len(stream))]
    assert all(batch.layout.lengths == (length,) * columns for batch in batches)
    assert all(batch.positions.tolist() == list(range(length)) * columns for batch in batches)
    read = sorted(token for batch in batches for token in batch.ids.tolist() if token != STOP)
    unread = stream.rows[-1].tolist()
    assert read == sorted(set(ids) - set(unread) - {STOP})
    assert stream.rows[1:].T.reshape(-1)[-count:].tolist() == ids


def test_a_column_goes_on_in_the_next_batch() -> None:
    stream = TokenStream.of([*range(10, 19), STOP], columns=2, length=2, stop=STOP, language=4)
    first, second, third = (stream.batch(number) for number in range(3))
    assert first.ids.tolist() == [1, 1, 1, 14]
    assert second.ids.tolist() == [1, 10, 15, 16]
    assert third.ids.tolist() == [11, 12, 17, 18]
    assert first.languages is not None and first.languages.tolist() == [4] * 4


@pytest.mark.parametrize(
    ("ids", "columns", "message"),
    [
        ([5, 6], 2, "a stream ends with the token 1 that closes a sentence, but this one has the token 6"),
        ([], 2, "a stream ends with the token 1 that closes a sentence, but this one has nothing"),
        ([5, 1], 0, "a stream has at least one column and one row a batch, not 0 and 3"),
    ],
)
def test_what_is_no_stream_is_refused(ids: list[int], columns: int, message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}$"):
        TokenStream.of(ids, columns=columns, length=3, stop=STOP)
