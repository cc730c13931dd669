"""Show where a set-up stands: step i of n, elapsed time and an estimate of the time left."""
import sys
import time
from collections.abc import Callable, Sequence
from typing import TextIO


def clock(seconds: float) -> str:
    """Write a duration as ``m:ss``."""
    whole = max(0, round(seconds))
    return f'{whole // 60}:{whole % 60:02d}'


class StepProgress:
    """A line for each step; on a terminal it is rewritten, elsewhere repeated every 15 seconds at most.

    Args:
        steps (Sequence[tuple[str, float]]): Titles and expected seconds, in the order in which they run.
        stream (TextIO, optional): Where to write. Defaults to stdout.
        now (Callable): A clock in seconds, for tests.
    """

    def __init__(self,
                 steps: Sequence[tuple[str, float]],
                 stream: TextIO | None = None,
                 now: Callable[[], float] = time.monotonic) -> None:
        self.steps = list(steps)
        self.stream = stream or sys.stdout
        self.now = now
        self.started = now()
        self.index = -1
        self.note = ''
        self.fraction = 0.0
        self.step_started = self.last_shown = self.started
        self.on_terminal = self.stream.isatty()

    def start(self, note: str = '') -> None:
        """Begin the next step."""
        self.index += 1
        self.note, self.fraction = note, 0.0
        self.step_started = self.now()
        self.show(force=True)

    def update(self, fraction: float, note: str = '') -> None:
        """Say how far the running step is.

        Args:
            fraction (float): Done part of it, in [0, 1].
            note (str): What it does now; the last note stays where this is empty.
        """
        self.fraction = min(max(fraction, 0.0), 1.0)
        self.note = note or self.note
        self.show()

    def expect(self, seconds: float) -> None:
        """Correct what the running step is expected to take, once it is known better."""
        self.steps[self.index] = (self.steps[self.index][0], seconds)

    def left(self) -> float:
        """Seconds left: the running step by its own pace once a twentieth of it is done, the rest as expected."""
        spent = self.now() - self.step_started
        if self.fraction >= 0.05:
            running = spent * (1 - self.fraction) / self.fraction
        else:
            running = max(self.steps[self.index][1] - spent, 1.0)
        return running + sum(expected for _, expected in self.steps[self.index + 1:])

    def line(self) -> str:
        """The line for the running step."""
        title = self.steps[self.index][0] + (f': {self.note}' if self.note else '')
        return (f'[{self.index + 1}/{len(self.steps)}] {title}  '
                f'(elapsed {clock(self.now() - self.started)}, about {clock(self.left())} left)')

    def show(self, force: bool = False) -> None:
        """Write the line if it is due."""
        now = self.now()
        if not force and now - self.last_shown < (0.2 if self.on_terminal else 15.0):
            return
        self.last_shown = now
        self.stream.write(f'\r\x1b[K{self.line()[:150]}' if self.on_terminal else f'{self.line()}\n')
        self.stream.flush()

    def say(self, text: str) -> None:
        """Write a sentence that stays on the screen."""
        self.stream.write(f'\r\x1b[K{text}\n' if self.on_terminal else f'{text}\n')
        self.stream.flush()

    def finish(self, text: str) -> None:
        """End with a sentence and the whole time."""
        self.say(f'{text} ({clock(self.now() - self.started)})')
