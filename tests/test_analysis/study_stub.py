"""A stand-in for tools/train.py that takes its arguments and leaves what it leaves, but computes nothing.

Environment: STUB_FAIL, the name of a config that fails in its second epoch; STUB_GATE, names of configs, which wait
before their second epoch until there is a file ``gate``; STUB_MEET, a number of runs that must have been started
before any goes on.
"""
import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument('config')
parser.add_argument('--seed', type=int)
parser.add_argument('--work-dir', type=Path)
parser.add_argument('--resume', action='store_true')
parser.add_argument('--cfg-options', nargs='+', default=[])
args = parser.parse_args()
name, options = Path(args.config).stem, dict(option.split('=') for option in args.cfg_options)
settings = {}
exec(Path(args.config).read_text(), settings)
epochs = int(options.get('train_cfg.max_epochs', settings['train_cfg']['max_epochs']))


def wait(ready):
    end = time.monotonic() + 120
    while not ready():
        assert time.monotonic() < end, 'waited in vain'
        time.sleep(0.01)


def stop(number, frame):
    print('stopped: saved')
    sys.exit(143)


signal.signal(signal.SIGTERM, stop)
saved = args.work_dir / 'epoch.txt'
done = int(saved.read_text()) if args.resume and saved.exists() else 0
with (args.work_dir / 'starts.txt').open('a') as file:
    seen = {key: os.environ.get(key) for key in ('OMP_NUM_THREADS', 'CUDA_VISIBLE_DEVICES')}
    file.write(json.dumps(dict(epoch=done, pid=os.getpid(), time=time.time(), **seen)) + '\n')
wait(lambda: len(list(args.work_dir.parent.glob('*/starts.txt'))) >= int(os.environ.get('STUB_MEET', 0)))
(args.work_dir / f'{name}.py').write_text(
    f'randomness = dict(seed={args.seed})\ntrain_cfg = dict(max_epochs={epochs})\nwidth = {settings["width"]}\n')
start = args.work_dir / time.strftime(f'%Y%m%d_%H%M%S_{time.monotonic_ns()}')
(start / 'vis_data').mkdir(parents=True)
(start / f'{start.name}.log').write_text('2026/01/01 10:00:00 - mmengine - INFO - a\n')
for epoch in range(done + 1, epochs + 1):
    if epoch == 2 and name in os.environ.get('STUB_GATE', '').split():
        wait(Path('gate').exists)
    if os.environ.get('STUB_FAIL') == name and epoch == 2:
        print('Traceback of the stub\nerror: the stub was told to fail\n')
        sys.exit(3)
    value = settings['width'] + args.seed + epoch / 10
    with (start / 'vis_data' / 'scalars.json').open('a') as file:
        file.write(json.dumps(dict(loss=1., epoch=epoch, iter=epoch, step=epoch)) + '\n')
        file.write(json.dumps({'accuracy/top1': value, 'step': epoch}) + '\n')
    saved.write_text(str(epoch))
with (args.work_dir / 'ends.txt').open('a') as file:
    file.write(f'{time.time()}\n')
