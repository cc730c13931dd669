"""Draw a contact sheet of detections or segmentations: each picture of a folder above what a model finds in it.

    python tools/analysis_tools/prediction_sheet.py data/coco/val2017 --config ssdlite_affnet_coco \\
        --checkpoint work_dirs/ssdlite_affnet_coco/epoch_200.pth --out detections.png
    python tools/analysis_tools/prediction_sheet.py street/ --config deeplabv3_affnet-et_8xb2-120e_ade20k-512x512 \\
        --checkpoint segmentor.pth --max 6 --columns 3 --out segments.jpg
"""
import argparse

from mmaffnet.analysis.prediction_sheet import add_arguments, run
from mmaffnet.engine.errors import cli


@cli
def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    return run(parser.parse_args(argv))


if __name__ == '__main__':
    main()
