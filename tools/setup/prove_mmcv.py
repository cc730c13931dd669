"""Run by build_mmcv.prove in an environment: mmcv's compiled operators give the right answer there."""
import sys

import mmcv
import torch
from mmcv.ops import nms

# Two boxes with an overlap of 80 out of 100: the weaker one goes at a threshold of 0.5 and stays at 0.9.
BOXES, SCORES = [[0., 0., 10., 10.], [0., 0., 10., 8.]], [0.9, 0.8]
EXPECTED = {0.5: [0], 0.9: [0, 1]}

devices = ['cpu'] + (['cuda'] if sys.argv[1:] == ['cuda'] and torch.cuda.is_available() else [])
for device in devices:
    for threshold, expected in EXPECTED.items():
        _, kept = nms(torch.tensor(BOXES, device=device), torch.tensor(SCORES, device=device), threshold)
        if kept.tolist() != expected:
            sys.exit(f'Error: nms on {device} at {threshold} keeps {kept.tolist()}, and {expected} is right')
print(mmcv.__version__)
