"""Keep the numbers of finished trainings, and make tables and curves of them over their seeds.

    python tools/analysis_tools/results.py keep work_dirs/cifar10/affnet-et-seed0 --out docs/results/cifar10
    python tools/analysis_tools/results.py page docs/results.md
    python tools/analysis_tools/results.py draw docs/results/cifar10 --keys loss accuracy/top1 --out curves.png
"""
import argparse

from mmaffnet.analysis.results import draw, keep, update_page
from mmaffnet.engine.errors import cli


@cli
def main(argv=None):
    parser = argparse.ArgumentParser(description='Tables and curves of finished trainings.')
    commands = parser.add_subparsers(dest='command', required=True)
    kept = commands.add_parser('keep', help='write the records of finished runs into a folder that can be committed')
    kept.add_argument('work_dirs', nargs='+')
    kept.add_argument('--out', required=True)
    page = commands.add_parser('page', help='put the tables into a Markdown page, where its marks say')
    page.add_argument('page')
    drawn = commands.add_parser('draw', help='draw a line for each config, the mean of its seeds')
    drawn.add_argument('folder')
    drawn.add_argument('--keys', nargs='+', required=True)
    drawn.add_argument('--out', required=True)
    args = parser.parse_args(argv)
    if args.command == 'keep':
        for work_dir in args.work_dirs:
            print(f'kept: {keep(work_dir, args.out)}')
    elif args.command == 'page':
        print('\n'.join(f'{args.page}: {folder}' for folder in update_page(args.page)))
    else:
        print(f'written: {draw(args.folder, args.keys, args.out)}')


if __name__ == '__main__':
    main()
