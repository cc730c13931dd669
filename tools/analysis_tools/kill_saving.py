"""Kill small trainings (SIGKILL) at each step of saving and at random moments; every one must lose nothing.

    python tools/analysis_tools/kill_saving.py                    # every step, and 100 random moments
    python tools/analysis_tools/kill_saving.py --kills 1000 --seed 1 --no-steps

Prints each kill and a summary; the exit code is 1 where anything was lost.
"""
import argparse
import contextlib
import io
import tempfile
import time

from mmaffnet.analysis.kill_saving import kill_at_every_step, kill_at_random, prepare
from mmaffnet.engine.errors import cli


@cli
def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--kills', type=int, default=100, help='random moments (default: 100)')
    parser.add_argument('--seed', type=int, default=0, help='of the random moments (default: 0)')
    parser.add_argument('--no-steps', action='store_true', help='leave out the steps of saving')
    args = parser.parse_args(argv)
    prepare()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        kills = [] if args.no_steps else shown(kill_at_every_step(f'{folder}/steps/run'))
        kills += shown(kill_at_random(f'{folder}/random/run', args.kills, args.seed))
    print(summary(kills, args.kills, time.monotonic() - start))
    return int(any(kill.problems for kill in kills))


def shown(kills):
    """list[Kill]: The same, each printed as it happens."""
    found = []
    while True:
        with contextlib.redirect_stdout(io.StringIO()):  # what --resume says each time
            kill = next(kills, None)
        if kill is None:
            return found
        found.append(kill)
        print(f'{kill.step:45} saved {kill.announced:5} usable {kill.usable:5} temporary {kill.temporary_bytes:7} B  '
              f'{"; ".join(kill.problems) or "ok"}', flush=True)


def summary(kills, random, seconds):
    """str: The figures in one line."""
    unfinished = [kill for kill in kills if kill.temporaries]
    return (f'{len(kills)} kills ({len(kills) - random} steps of saving, {random} random moments) in {seconds:.0f} s: '
            f'{sum(bool(kill.problems) for kill in kills)} with a loss; {len(unfinished)} hit an unfinished file '
            f'({sum(kill.temporary_bytes for kill in unfinished)} B, cleared on resuming); last iteration '
            f'{kills[-1].usable if kills else 0}')


if __name__ == '__main__':
    main()
