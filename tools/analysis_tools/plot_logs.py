"""Draw loss, learning rate and metric curves of one or several runs as one picture.

    python tools/analysis_tools/plot_logs.py work_dirs/ssdlite_affnet_coco --out curves.png
    python tools/analysis_tools/plot_logs.py runs/a runs/b --keys loss coco/bbox_mAP --out compare.png
"""
import argparse

from mmaffnet.analysis.logs import plot_curves, read_scalars
from mmaffnet.engine.errors import cli


@cli
def main(argv=None):
    parser = argparse.ArgumentParser(description='Draw the curves of training runs.')
    parser.add_argument('runs', nargs='+', help='work directories, or scalars.json files')
    parser.add_argument('--keys', nargs='+', help='what to draw; default: losses, learning rate and main metrics')
    parser.add_argument('--labels', nargs='+', help='names in the legend, one a run; default: the paths')
    parser.add_argument('--out', default='curves.png', help='picture to write (.png, .svg or .pdf)')
    args = parser.parse_args(argv)
    labels = args.labels or args.runs
    if len(labels) != len(args.runs):
        parser.error(f'{len(args.runs)} runs but {len(labels)} labels')
    runs = {label: read_scalars(path) for label, path in zip(labels, args.runs, strict=True)}
    print(f'written: {plot_curves(runs, args.keys, args.out)}')


if __name__ == '__main__':
    main()
