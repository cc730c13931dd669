"""Convert a checkpoint that the authors of AFFNet released into one of ours.

    python tools/model_converters/affnet_to_mmaffnet.py checkpoint_ema_best.pt affnet-t.pth
    python tools/model_converters/affnet_to_mmaffnet.py checkpoint.pt ssd.pth --act relu --safetensors

It prints the config that loads the result; docs/released_weights.md says how to find norm and activation.
"""
import argparse

from mmaffnet.engine.errors import cli
from mmaffnet.engine.released import add_released_arguments, convert_file


@cli
def main(argv=None):
    parser = argparse.ArgumentParser(description='Convert a released AFFNet checkpoint: classifier, SSD or DeepLabV3.')
    add_released_arguments(parser)
    args = parser.parse_args(argv)
    convert_file(args.src, args.dst, args.token_norm, args.act, args.safetensors)


if __name__ == '__main__':
    main()
