"""Build step: a wheel ships configs, tools and the model index under mmaffnet/.mim, as OpenMMLab's packages do.

All else stands in pyproject.toml. An editable installation gets no .mim: mmaffnet.engine.paths then finds the checkout.
"""
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
# tools/setup makes the environment of a checkout; there is nothing in an installed package for it to work on
SHIPPED = {'configs': ('*.py', '*.yml'), 'tools': ('*.py', '*.sh')}
LEFT_OUT = ('tools/setup', )


def mim_files():
    """list[Path]: Files that a wheel carries under mmaffnet/.mim, relative to this checkout."""
    found = [
        file.relative_to(ROOT) for folder, patterns in SHIPPED.items() for pattern in patterns
        for file in sorted((ROOT / folder).rglob(pattern))
    ]
    return [file for file in found if not file.as_posix().startswith(LEFT_OUT)] + [Path('model-index.yml')]


class BuildWithMim(build_py):
    """``build_py`` that starts from an empty folder and adds what lies beside the package."""

    def run(self):
        package = Path(self.build_lib) / 'mmaffnet'
        if not self.editable_mode:
            # a build folder of yesterday would ship files that were removed since
            shutil.rmtree(package, ignore_errors=True)
        super().run()
        if not self.editable_mode:
            for file in mim_files():
                target = package / '.mim' / file
                target.parent.mkdir(parents=True, exist_ok=True)
                self.copy_file(str(ROOT / file), str(target))


setup(cmdclass={'build_py': BuildWithMim})
