"""``python -m mmaffnet.analysis.study_child PID ARGUMENTS``: ``tools/train.py`` as a child of the study PID.

Where the study is killed, so that it can stop nothing, the kernel asks this run to end, and it saves: else a study that
goes on would meet its former runs still at work.
"""
import ctypes
import os
import signal
import sys

from mmaffnet.engine.cli import train_main
from mmaffnet.engine.errors import Terminated

PR_SET_PDEATHSIG = 1   # linux/prctl.h


def follow(parent: int) -> bool:
    """Get SIGTERM when the parent ends, however it does.

    Args:
        parent (int): Its process id.

    Returns:
        bool: Whether it is still there.
    """
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    return os.getppid() == parent


if __name__ == '__main__':
    if not follow(int(sys.argv[1])):
        sys.exit(Terminated.exit_code)
    train_main(sys.argv[2:])
