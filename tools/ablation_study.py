"""Train configs for several seeds and compare them: table, paired differences to one of them, plot.

    python tools/ablation_study.py configs/ablations/cifar10 --baseline table4_affnet-et-aff --epochs 9 --jobs 2 \\
        --out docs/results/ablations_cifar10 --page docs/results.md

That is 13 rows with seeds 0, 1 and 2: 39 runs of 9 epochs, 351 epochs. With two runs on two otherwise idle cores an
epoch of AFF takes about 39 s (measured), so that 351 like it take 1.9 hours, two at a time; larger operators,
evaluations and starts make it more. With --epochs 18 it takes twice as long. All rows of a seed come before the next
seed. In a checkout, whose docs hold these runs, the command only remakes the table: without --out and --page it trains.

Killed or stopped, the same command goes on: finished runs are not repeated, unfinished ones resume. On GPUs there is
one run on each at a time, and the others queue. On Slurm, one task of an array is one run:

    study='python tools/ablation_study.py configs/ablations/cifar10 --work-dir /shared/study'
    sbatch --array=0-$(($($study --array-size) - 1)) --gres=gpu:1 --signal=B:TERM@120 --wrap "exec $study"
    $study --baseline table4_affnet-et-aff --report-only

The exit code is 1 where a run failed, which is named and its log's last line shown, 143 where the study was stopped, 2
where data of a run that is to be begun is missing, or something else that is found before anything is trained.
"""
import argparse

from mmaffnet.analysis.ablation_study import add_arguments, run
from mmaffnet.engine.errors import cli


@cli
def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    return run(parser.parse_args(argv))


if __name__ == '__main__':
    main()
