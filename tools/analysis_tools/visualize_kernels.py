"""Draw what a token mixer makes of a picture: spectrum, learned mask, and equivalent spatial kernel (paper Eq. 6).

    python tools/analysis_tools/visualize_kernels.py dog.jpg cat.jpg --config affnet-et_8xb128-300e_in1k-256px \\
        --checkpoint work_dirs/affnet-et/epoch_300.pth --layer layer_3.1
    python tools/analysis_tools/visualize_kernels.py dog.jpg --config affnet_t --checkpoint affnet_t.pt --channels 0 5 7
    python tools/analysis_tools/visualize_kernels.py dog.jpg cat.jpg --compare --layer layer_4.2 --out mixers.png

Two pictures show whether the kernel adapts, and how much is printed. --compare draws the kernels of several mixers:
those of --config, or without it all operators of Tables 4 and 5, and says why some have none.
"""
import argparse

from mmaffnet.analysis.visualize_kernels import add_arguments, run
from mmaffnet.engine.errors import cli


@cli
def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    run(parser.parse_args(argv))


if __name__ == '__main__':
    main()
