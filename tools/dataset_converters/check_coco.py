"""Report everything that is wrong in a COCO annotation file, and in the pictures that it names, before a training.

    python tools/dataset_converters/check_coco.py data/bolts/annotations/instances_train2017.json data/bolts/train2017

Exit code: 0 without errors (notes are none), 2 with errors.
"""
import argparse
import json
from pathlib import Path

from mmaffnet.datasets.coco_check import check_coco
from mmaffnet.engine.errors import cli


@cli
def main(argv=None):
    parser = argparse.ArgumentParser(description='Check a COCO annotation file and its pictures.')
    parser.add_argument('file', help='annotation file')
    parser.add_argument('images', nargs='?', help='folder of the pictures; without it they are not looked at')
    parser.add_argument('--classes', nargs='+', metavar='NAME', help='names that must be categories of the file')
    parser.add_argument('--masks', action='store_true', help='segmentations are needed')
    parser.add_argument('--decode', action='store_true', help='decode every picture, not only its header; slower')
    parser.add_argument('--json', metavar='OUT', help='write the report as JSON too')
    args = parser.parse_args(argv)
    report = check_coco(args.file, args.images, args.classes, args.masks, args.decode)
    print('\n'.join(report.lines()))
    if args.json:
        Path(args.json).write_text(json.dumps(report.to_dict(), indent=2) + '\n')
    return 2 if report.has_errors else 0


if __name__ == '__main__':
    main()
