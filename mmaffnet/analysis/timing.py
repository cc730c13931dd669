"""Honest timing of alternatives: interleaved in one run, compared round by round."""

import statistics
import time
from collections.abc import Callable, Mapping

import torch


def interleaved(calls: Mapping[str, Callable[[], object]], rounds: int = 15, seconds: float = 0.05) -> dict[str, list]:
    """Time several callables in turn, A B C A B C …, so that a drift of the machine meets all alike.

    Args:
        calls (Mapping[str, Callable]): What to time, by name.
        rounds (int): Timed rounds. Defaults to 15.
        seconds (float): Least duration of one measurement; short calls are repeated within it. Defaults to 0.05.

    Returns:
        dict[str, list[float]]: Seconds a call, one entry a round.
    """
    repeats = {}
    for name, call in calls.items():
        for _ in range(2):
            duration = _measure(call, 1)
        repeats[name] = max(1, round(seconds / max(duration, 1e-6)))
    times = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(_measure(call, repeats[name]))
    return times


def _measure(call: Callable[[], object], repeats: int) -> float:
    _synchronize()
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    _synchronize()
    return (time.perf_counter() - start) / repeats


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def speedup(times: Mapping[str, list], name: str, base: str) -> float:
    """How many times faster ``name`` is than ``base``: the median of the rounds' ratios."""
    return statistics.median(b / t for b, t in zip(times[base], times[name], strict=True))


def milliseconds(times: Mapping[str, list], name: str) -> float:
    """Median duration of a call in milliseconds."""
    return 1e3 * statistics.median(times[name])
