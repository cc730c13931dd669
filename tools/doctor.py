"""Print versions, what is missing for which task, and the line that mends it.

    make doctor        or        python tools/doctor.py

Every module is imported in a process of its own, so that nothing that is broken there breaks the report. Exit code 0
where all tasks can run, 1 where something is missing. Needs nothing but Python itself.
"""
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata

# The lower ends are the classic set's, the upper ends leave both sets in: module -> (from, below).
RANGES = {
    'torch': ('2.4', '3'),
    'torchvision': ('0.19', '1'),
    'numpy': ('1.24', '3'),
    'mmengine': ('0.10.7', '1'),
    'mmcv': ('2.1.0', '3'),
    'mmdet': ('3.3.0', '4'),
    'mmseg': ('1.2.2', '2'),
    'mmpretrain': ('1.2.0', '2'),
    'pycocotools': (None, None),
    'mmaffnet': (None, None),
}
# 'mmcv.ops' stands for the compiled operators, 'mmaffnet' comes last: its own failure follows from the others'.
TASKS = {
    'classification': ('torch', 'torchvision', 'numpy', 'mmengine', 'mmcv', 'mmpretrain', 'mmaffnet'),
    'detection': ('torch', 'numpy', 'mmengine', 'mmcv', 'mmcv.ops', 'mmdet', 'pycocotools', 'mmaffnet'),
    'segmentation': ('torch', 'numpy', 'mmengine', 'mmcv', 'mmcv.ops', 'mmseg', 'mmaffnet'),
}
DISTRIBUTIONS = {
    'mmengine': ('onedl-mmengine', 'mmengine', 'mmengine-lite'),
    'mmcv': ('onedl-mmcv', 'mmcv', 'mmcv-lite', 'mmcv-full'),
    'mmdet': ('onedl-mmdetection', 'mmdet'),
    'mmseg': ('onedl-mmsegmentation', 'mmsegmentation'),
    'mmpretrain': ('onedl-mmpretrain', 'mmpretrain'),
    'cv2': ('opencv-python-headless', 'opencv-python', 'opencv-contrib-python', 'opencv-contrib-python-headless'),
}
# What is asked of a module besides its version; each prints one JSON line at the end, whatever else a module prints.
QUESTION = r'''
import importlib, json, sys
module = importlib.import_module(sys.argv[1])
answer = dict(version=str(getattr(module, '__version__', '')), file=str(getattr(module, '__file__', '')))
if sys.argv[1] == 'torch':
    answer.update(cuda=module.version.cuda, gpus=[module.cuda.get_device_name(i)
                                                  for i in range(module.cuda.device_count())])
if sys.argv[1] == 'mmcv.ops':
    import torch
    boxes = torch.tensor([[0., 0., 10., 10.], [0., 0., 10., 8.]])
    kept = module.nms(boxes, torch.tensor([.9, .8]), .5)[1].tolist()
    if kept != [0]:
        raise RuntimeError('nms keeps %s of two overlapping boxes, and [0] is right' % kept)
print('\nANSWER ' + json.dumps(answer), flush=True)
'''


def numbers(version):
    """Turn ``2.14.1+cu130`` into ``(2, 14, 1)``; what is no number ends it."""
    found = []
    for part in version.split('+')[0].split('.'):
        digits = ''
        for letter in part:
            if not letter.isdigit():
                break
            digits += letter
        if not digits:
            break
        found.append(int(digits))
    return tuple(found)


def in_range(version, bounds):
    """Whether a version lies in ``[from, below)``; a bound of None, and a module without a version, pass."""
    low, below = bounds
    have = numbers(version)
    return not have or ((low is None or have >= numbers(low)) and (below is None or have < numbers(below)))


def ask(module, timeout=180):
    """Import a module in a process of its own.

    Args:
        module (str): Its name.
        timeout (float): Seconds after which it counts as broken.

    Returns:
        dict: ``version`` and more where it can be imported, else ``error``, a short text.
    """
    try:
        # -P: a folder of that name in the working directory is not what other programs would import
        safe_path = ['-P'] if sys.version_info >= (3, 11) else []
        child = subprocess.run([sys.executable, *safe_path, '-W', 'ignore', '-c', QUESTION, module],
                               stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        return {'error': f'its import takes longer than {timeout:.0f} seconds'}
    except OSError as error:
        return {'error': f'Python cannot be started: {error}'}
    for line in reversed(child.stdout.decode(errors='replace').splitlines()):
        if line.startswith('ANSWER '):
            try:
                return json.loads(line[len('ANSWER '):])
            except ValueError:
                break
    lines = [line.strip() for line in child.stderr.decode(errors='replace').splitlines() if line.strip()]
    if child.returncode < 0:
        return {'error': f'its import crashes Python (signal {-child.returncode})'}
    last = lines[-1] if lines else f'its import ends Python with exit code {child.returncode}'
    missing = f"No module named '{module}'"
    return {'error': 'not installed' if last.endswith(missing) else last[:300]}


def judge(answers):
    """Say what is wrong with each module.

    Args:
        answers (dict[str, dict]): Module -> what :func:`ask` returned.

    Returns:
        dict[str, str]: Module -> problem, for those that have one.
    """
    problems = {}
    for module, answer in answers.items():
        if 'error' in answer:
            problems[module] = answer['error']
        elif module in RANGES and not in_range(answer['version'], RANGES[module]):
            low, below = RANGES[module]
            problems[module] = f'version {answer["version"]} is outside {low} <= version < {below}'
    return problems


def installed():
    """dict[str, str]: Distribution -> version, by lower-case name; what has no readable metadata is left out."""
    found = {}
    distributions = iter(metadata.distributions())
    while True:
        try:
            distribution = next(distributions)
            found[distribution.metadata['Name'].lower().replace('_', '-')] = distribution.version
        except StopIteration:
            return found
        except Exception:  # any damage in a foreign package: the report goes on without it
            continue


def clashes(distributions):
    """Find modules that two installed distributions own; whichever came last has overwritten the other's files.

    Args:
        distributions (dict[str, str]): What :func:`installed` returned.

    Returns:
        list[str]: A sentence for each.
    """
    sentences = []
    for module, names in DISTRIBUTIONS.items():
        owners = [f'{name} {distributions[name]}' for name in names if name in distributions]
        if len(owners) > 1:
            remove = f'{sys.executable} -m pip uninstall {" ".join(owner.split()[0] for owner in owners)}'
            sentences.append(f'{" and ".join(owners)} own the same module {module}: remove all of them with "{remove}" '
                             'and run the set-up again.')
    return sentences


def mend(problems, checkout, torch_version=''):
    """The line that mends what is missing.

    Args:
        problems (dict[str, str]): What :func:`judge` returned.
        checkout (str | None): The checkout that this file belongs to, None where it lies in an installed package.
        torch_version (str): The version of the torch that is there.

    Returns:
        str: One command.
    """
    own = checkout is not None and os.path.abspath(sys.prefix) == os.path.join(checkout, '.venv')
    if 'torchvision' in problems and 'torch' not in problems and not own:
        # the set-up leaves these two as they are in an environment of the user; they run in parallel, 15 apart
        minor = [*numbers(torch_version), 0, 0][1] + 15
        return (f"{sys.executable} -m pip install --no-deps --force-reinstall 'torchvision==0.{minor}.*'  "
                f'(from where torch {torch_version} came; then run the doctor again)')
    if checkout is not None:
        # without torch an environment cannot be kept: make then makes its own
        named = '' if own or 'torch' in problems else f' PYTHON={sys.executable}'
        return f'cd {checkout} && make setup FORCE=1{named}'
    if 'torch' in problems:
        return f'{sys.executable} -m pip install torch torchvision'
    if set(problems) == {'mmcv.ops'}:
        return (f'MMCV_WITH_OPS=1 {sys.executable} -m pip install --no-deps --no-build-isolation --no-cache-dir '
                '--force-reinstall onedl-mmcv==2.3.6')
    return f"MMCV_WITH_OPS=1 {sys.executable} -m pip install --no-build-isolation --no-cache-dir 'mmaffnet[onedl]'"


def compiler_line():
    """str: The first line of the C++ compiler's ``--version``."""
    command = os.environ.get('CXX', '').split() or ['c++']
    try:
        child = subprocess.run([*command, '--version'], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60)
        return child.stdout.decode(errors='replace').splitlines()[0]
    except (OSError, IndexError, subprocess.SubprocessError):
        return f'missing ({command[0]}); it is needed to build mmcv only'


def linux_line():
    """str: Distribution, kernel, processor and C library."""
    try:
        name = platform.freedesktop_os_release().get('PRETTY_NAME', '')
    except (OSError, AttributeError):
        name = ''
    return f'{name or platform.system()}, {platform.release()}, {platform.machine()}, {" ".join(platform.libc_ver())}'


def find_checkout():
    """str | None: The folder above tools/ where it is a checkout with a Makefile of ours."""
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return root if os.path.isfile(os.path.join(root, 'tools', 'setup', 'setup_env.py')) else None


def describe(module, answers, problems):
    """One line of the report for a module: its version and what is special about it, or what is wrong."""
    answer = answers[module]
    if module in problems:
        return f'{answer["version"]}: {problems[module]}' if answer.get('version') else problems[module]
    text = answer['version'] or 'there'
    if module == 'torch':
        text += f', built for CUDA {answer["cuda"]}' if answer.get('cuda') else ', built without CUDA'
        text += f', GPUs: {", ".join(answer["gpus"])}' if answer.get('gpus') else ', no GPU in reach'
    if module == 'mmcv':
        text += ' with compiled ops' if 'mmcv.ops' not in problems else ' without compiled ops'
    return text


def report(ask_module=ask, distributions=None, write=print):
    """Print everything.

    Args:
        ask_module (Callable): :func:`ask`, or a stand-in for tests.
        distributions (dict[str, str], optional): Defaults to :func:`installed`.
        write (Callable): Takes each line.

    Returns:
        int: 0 where all tasks can run, else 1.
    """
    headers = os.path.join(sysconfig.get_paths()['include'], 'Python.h')
    lines = [('Linux', linux_line()), ('Python', f'{platform.python_version()}, {sys.executable}'),
             ('headers', headers if os.path.isfile(headers) else f'missing ({headers}); needed to build mmcv only'),
             ('compiler', compiler_line()), ('make', shutil.which('make') or 'missing; the README\'s commands need it')]
    for name, text in lines:
        write(f'{name:<15}{text}')
    if sys.version_info[:2] not in ((3, 11), (3, 12)):
        write('               mmaffnet needs Python 3.11 or 3.12')
    modules = (*RANGES, 'mmcv.ops')
    with ThreadPoolExecutor(max(2, min(4, os.cpu_count() or 1))) as pool:
        answers = dict(zip(modules, pool.map(ask_module, modules), strict=True))
    problems = judge(answers)
    for module in RANGES:
        write(f'{module:<15}{describe(module, answers, problems)}')
    if 'mmcv' not in problems and 'mmcv.ops' in problems:
        write(f'{"mmcv.ops":<15}{problems["mmcv.ops"]}')
    write('')
    for task, modules in TASKS.items():
        lacking = [module for module in modules if module in problems]
        write(f'{task:<15}{"ready" if not lacking else "lacks " + ", ".join(lacking)}')
    needed = {module: problems[module] for modules in TASKS.values() for module in modules if module in problems}
    for sentence in clashes(installed() if distributions is None else distributions):
        write(f'\nWarning: {sentence}')
    if needed:
        write(f'\nTo mend it:  {mend(needed, find_checkout(), answers["torch"].get("version", ""))}')
    return 1 if needed else 0


if __name__ == '__main__':
    # a name that the terminal cannot show must not end the report
    sys.stdout.reconfigure(errors='replace')
    sys.exit(report())
