"""Train SSDLite-AFFNet on pictures drawn for it, evaluate it, and show the result on one page."""

import argparse

from mmaffnet.demo import describe, run_demo
from mmaffnet.engine.errors import cli


@cli
def main(argv=None):
    """Parse arguments, run, print.

    Returns:
        int: 1 where the trained net stays below what a sound installation reaches.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--out', default='work_dirs/demo', help='folder for all that is made (default: work_dirs/demo)')
    parser.add_argument('--epochs', type=int, help="epochs instead of the config's")
    parser.add_argument('--quick', action='store_true', help='a few pictures, two epochs: shows that it runs')
    parser.add_argument('--seed', type=int, default=0, help='seed of the training (default: 0)')
    args = parser.parse_args(argv)
    result = run_demo(args.out, args.quick, args.epochs, args.seed)
    print(describe(result))
    return 1 if result['reached'] is False else 0


if __name__ == '__main__':
    main()
