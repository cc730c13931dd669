"""Print a table of the paper beside ours: counted on the built models, read from the configs, there and then.

    python tools/analysis_tools/paper_tables.py --table 2                       # ImageNet; 3: COCO, ADE20K, VOC
    python tools/analysis_tools/paper_tables.py --table 3 --no-peers --format markdown --out table3.md
    python tools/analysis_tools/paper_tables.py --table 5                       # ablations; 4, 6, 7, 12, 13, 14 too
    python tools/analysis_tools/paper_tables.py --table 1                       # operators, decided by experiments
    python tools/analysis_tools/paper_tables.py --table 9 --format json         # recipes; 8: layers

The other models of Tables 2 and 3 are counted where timm or mmpretrain has them; the rest is shown as printed.
"""
import argparse

from mmaffnet.analysis.paper_tables import add_arguments, run
from mmaffnet.engine.errors import cli


@cli
def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    run(parser.parse_args(argv))


if __name__ == '__main__':
    main()
