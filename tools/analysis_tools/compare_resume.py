"""Check that a run which is interrupted and resumed equals an undisturbed one, for any config.

    python tools/analysis_tools/compare_resume.py CONFIG --interrupt epoch:1 iter:5 --cfg-options train_cfg.max_epochs=3

Trains once straight and once from each point on, prints what was compared, and ends with exit code 1 where a log line
(but for times and memory) or a value of the final state differs. Choose a short training: its length counts
1 + the number of points times.
"""
import argparse

from mmaffnet.analysis.compare_resume import compare_resume, table
from mmaffnet.engine.config import add_common_arguments
from mmaffnet.engine.errors import cli
from mmaffnet.engine.train import add_train_arguments, prepare


@cli
def main(argv=None):
    parser = argparse.ArgumentParser(
        description='Compare resumed runs with an undisturbed one.',
        epilog='Bit-equal results need the same number of threads, so all runs happen in this one process; on a GPU '
               'also --deterministic.')
    add_train_arguments(parser)
    add_common_arguments(parser)
    parser.add_argument('--interrupt', nargs='+', metavar='epoch:N|iter:N',
                        help='where to interrupt, counted from 1; where a validation follows, once before and once '
                             'behind it (default: after the first epoch and within the second; by iterations, halfway)')
    args = parser.parse_args(argv)
    cfg = prepare(args)
    if not args.work_dir:
        cfg.work_dir += '_compare_resume'
    results = compare_resume(cfg, args.interrupt)
    print(table(results))
    return int(not all(result.equal for result in results))


if __name__ == '__main__':
    main()
