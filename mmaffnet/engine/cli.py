"""The console commands: arguments, and one call."""
import argparse

from .config import add_common_arguments
from .errors import UserError, cli


class _Parser(argparse.ArgumentParser):
    """argparse's, which prints its complaint and its usage itself, in each of several processes."""

    def error(self, message):
        raise UserError(f'{message}; {self.prog} --help lists what there is')


@cli
def train_main(argv=None):
    """``mmaffnet-train`` and ``tools/train.py``."""
    from .train import add_train_arguments, train
    parser = _Parser(description='Train a detector, segmentor or classifier.')
    add_train_arguments(parser)
    add_common_arguments(parser)
    train(_parse(parser, argv))


@cli
def test_main(argv=None):
    """``mmaffnet-test`` and ``tools/test.py``."""
    from .test import add_test_arguments, test
    parser = _Parser(description='Evaluate a checkpoint.')
    add_test_arguments(parser)
    add_common_arguments(parser)
    test(_parse(parser, argv))


@cli
def predict_main(argv=None):
    """``mmaffnet-predict`` and ``tools/predict.py``.

    Returns:
        int: 1 where a picture could not be read, else 0.
    """
    from .predict import add_predict_arguments, predict
    parser = _Parser(
        description='Draw boxes, masks or labels on pictures, and write them as JSON.')
    add_predict_arguments(parser)
    return predict(parser.parse_args(argv))


@cli
def config_main(argv=None):
    """``mmaffnet-config``."""
    from .shipped import add_config_arguments, run_config_command
    parser = _Parser(description='List, print or copy the configs that mmaffnet ships.')
    add_config_arguments(parser)
    run_config_command(parser.parse_args(argv))


def _parse(parser, argv):
    import os
    args = parser.parse_args(argv)
    if args.local_rank is not None:  # mmengine reads the environment only
        os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args
