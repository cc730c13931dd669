"""Interleaving and ratios, on a clock of our own."""

from mmaffnet.analysis import timing


def test_interleaved_order_and_ratio(monkeypatch):
    clock, order = [0.], []
    monkeypatch.setattr(timing.time, 'perf_counter', lambda: clock[0])

    def call(name, cost):
        def run():
            order.append(name)
            clock[0] += cost
        return run

    times = timing.interleaved({'a': call('a', 0.5), 'b': call('b', 0.25)}, rounds=3, seconds=0.5)
    assert times == {'a': [0.5] * 3, 'b': [0.25] * 3}
    # two calls of warm-up each, then in turn; b is repeated to fill the half second
    assert ''.join(order) == 'aabb' + 'abb' * 3
    assert timing.speedup(times, 'b', 'a') == 2
    assert timing.milliseconds(times, 'b') == 250


def test_speedup_is_the_median_of_ratios_within_a_round():
    # the machine halves its speed after the second round: both sides alike
    times = {'old': [4, 4, 8, 8, 8], 'new': [2, 2, 4, 4, 100]}
    assert timing.speedup(times, 'new', 'old') == 2
