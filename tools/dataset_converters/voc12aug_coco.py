"""Bring VOC 2012, SBD and COCO into one training set in VOC's layout, as configs/deeplabv3/…voc12aug-coco… read it.

    python tools/dataset_converters/voc12aug_coco.py --voc data/VOCdevkit/VOC2012 \\
        --sbd data/benchmark_RELEASE/dataset --coco data/coco --out data/voc12aug_coco

Run again it makes only what is missing. docs/data.md tells what is taken, what is dropped, and why.
"""
import argparse

from mmaffnet.dataset_converters.voc12aug_coco import add_merge_arguments, merge_voc
from mmaffnet.engine.errors import cli


@cli
def main(argv=None):
    parser = argparse.ArgumentParser(description='Bring VOC 2012, SBD and COCO into one training set.')
    add_merge_arguments(parser)
    return merge_voc(parser.parse_args(argv))


if __name__ == '__main__':
    main()
