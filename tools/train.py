"""Train a detector, segmentor or classifier: python tools/train.py CONFIG."""
from mmaffnet.engine.cli import train_main

if __name__ == '__main__':
    train_main()
