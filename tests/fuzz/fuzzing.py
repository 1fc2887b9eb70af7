"""Property checks with reproducible Hypothesis examples, outside of pytest's own settings."""

from collections.abc import Callable

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st


def fuzz(check: Callable[..., object], examples: int, number: int, *strategies: st.SearchStrategy[object]) -> None:
    """Check examples of the strategies, the same ones for each seed `number`. Raise what `check` raises.

    The error is of the simplest failing example. Examples have no deadline: a large image may take a second.
    """

    @seed(number)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(st.tuples(*strategies))
    def run(values: tuple[object, ...]) -> None:
        check(*values)

    run()
