"""Make a Python environment ready for mmaffnet: the entry that the Makefile calls.

    python3 tools/setup/setup_env.py                       a .venv in this checkout
    python3 tools/setup/setup_env.py --python ENV/bin/python   an environment of yours, its torch is kept

This file stays readable for every Python 3, so that an old one ends in a sentence and not in a SyntaxError: it looks
for a Python that fits and hands over to installer.py.
"""
import os
import shutil
import subprocess
import sys

SUPPORTED = ((3, 11), (3, 12))
CANDIDATES = ('python3', 'python3.12', 'python3.11', 'python')


def version_of(python):
    """Ask an interpreter for its version.

    Args:
        python (str): Path of the interpreter.

    Returns:
        tuple[int, int] | None: Major and minor, None where it does not run (as pyenv's shims of absent versions).
    """
    try:
        answer = subprocess.run(
            [python, '-c', 'import sys; print(*sys.version_info[:2])'],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=60)
        return tuple(int(part) for part in answer.stdout.split()) if answer.returncode == 0 else None
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def find_python(named=None):
    """Find an interpreter of a supported version on this machine.

    Args:
        named (str, optional): The one given by ``--python``; it is tried first.

    Returns:
        str | None: Its path, None where there is none.
    """
    for name in ((named, ) if named else ()) + CANDIDATES:
        path = shutil.which(name)
        if path and version_of(path) in SUPPORTED:
            return path
    return None


def main(argv):
    if sys.version_info[:2] in SUPPORTED:
        from installer import run
        return run(argv)
    named = argv[argv.index('--python') + 1] if '--python' in argv[:-1] else None
    python = find_python(named)
    if python is None:
        version = '.'.join(str(part) for part in sys.version_info[:2])
        sys.stderr.write(f'mmaffnet needs Python 3.11 or 3.12, and PATH has only {version} ({sys.executable}): install '
                         'one, for example with "apt-get install python3.11 python3.11-venv python3.11-dev".\n')
        return 2
    sys.stdout.flush()
    os.execv(python, [python, os.path.abspath(__file__)] + argv)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
