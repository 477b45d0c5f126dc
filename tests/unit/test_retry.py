"""When to try again."""

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from aios.cores.retry import Backoff, retry_after

NOW = datetime(2031, 5, 4, 3, 2, 1, tzinfo=UTC).timestamp()


def test_each_wait_is_twice_the_last_up_to_the_most():
    steady = Backoff(first_s=1, most_s=5, draw=lambda: 0.0)
    assert [steady.delay(tries) for tries in range(1, 6)] == [1, 2, 4, 5, 5]
    assert steady.delay(10_000) == 5


def test_jitter_shortens_a_wait_of_ours_and_stretches_one_that_was_asked_for():
    jittery = Backoff(first_s=1, most_s=5, draw=lambda: 0.5)
    assert jittery.delay(3) == 3.0
    assert jittery.delay(3, asked_s=10) == pytest.approx(10.5)
    assert jittery.delay(3, asked_s=0) == 0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("7", 7),
        ("0.5", 0.5),
        ("-3", 0),
        ("soon", None),
        ("nan", None),
        ("1e99", None),
        (format_datetime(datetime.fromtimestamp(NOW + 90, UTC), usegmt=True), 90),
        (format_datetime(datetime.fromtimestamp(NOW - 90, UTC), usegmt=True), 0),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, seconds: float | None):
    assert retry_after(header, NOW) == seconds
