"""Evaluate a checkpoint: python tools/test.py CONFIG CHECKPOINT."""
from mmaffnet.engine.cli import test_main

if __name__ == '__main__':
    test_main()
