"""Installing the lock's sections side by side, with a stand-in for pip that lays packages out or fails."""
import io

import pytest

# $SITE is the folder to fill; a package called "bad" makes pip fail, "slow" makes it take a minute, and "ghost" is
# announced and never laid out.
PIP = r'''#!/bin/sh
echo "$@" >> "$SITE/../commands"
for file; do :; done
for line in $(cat "$file"); do
    name=${line%%==*}; version=${line##*==}
    echo "Collecting $line"
    case $name in
        bad) echo "ERROR: No matching distribution found for $line"; exit 1;;
        slow) sleep 60;;
        ghost) continue;;
    esac
    info=$SITE/$name-$version.dist-info
    mkdir -p "$info"
    printf 'Metadata-Version: 2.1\nName: %s\nVersion: %s\n' "$name" "$version" > "$info/METADATA"
    echo "$name-$version.dist-info/RECORD,," > "$info/RECORD"
done
'''


@pytest.fixture
def install(tool, tmp_path, monkeypatch):
    packages = tool('packages')
    site, python = tmp_path / 'site', tmp_path / 'python'
    site.mkdir()
    python.write_text(PIP)
    python.chmod(0o755)
    monkeypatch.setenv('SITE', str(site))

    def run(*lanes, broken=()):
        progress = tool('step_progress').StepProgress([('packages', 1.0)], io.StringIO())
        progress.start()
        made = [packages.Lane(lane) for lane in lanes]
        packages.install(made, python, [str(site)], {name: '' for name in broken}, tmp_path / 'log', progress)
        return progress

    run.site, run.commands = site, lambda: (tmp_path / 'commands').read_text().splitlines()
    return run


def test_all_lanes_are_installed_without_dependencies(tool, install):
    progress = install({'torch': {'torch': '2.14.1'}}, {'libraries': {'a': '1', 'b': '2'}, 'hosts': {'c': '3'}}, {})
    found = tool('lock_file').installed([str(install.site)])
    assert {name: one.version for name, one in found.items()} == {'torch': '2.14.1', 'a': '1', 'b': '2', 'c': '3'}
    assert len(install.commands()) == 3
    for command in install.commands():
        assert '--no-deps' in command and '--no-build-isolation' in command and '--ignore-installed' not in command
    assert progress.note == '4 of 4 fetched, 4 unpacked' and progress.fraction == 1.0


def test_what_was_cut_off_is_laid_over(install):
    install({'libraries': {'fresh': '1', 'half': '2'}}, broken=('half', ))
    assert ['--ignore-installed' in command for command in install.commands()] == [False, True]


def test_a_lane_that_fails_ends_the_others_with_one_sentence(tool, install):
    with pytest.raises(tool('processes').SetupError, match=r'packages \[hosts\] of the lock: ERROR: No matching dist'):
        install({'torch': {'slow': '1'}}, {'hosts': {'bad': '1'}})
    # install() waits for its lanes: left alone, the other one would have laid its package out by now
    assert not (install.site / 'slow-1.dist-info').exists()


def test_a_package_that_pip_did_not_lay_out_is_named(tool, install):
    with pytest.raises(tool('processes').SetupError, match='pip ended without an error, and ghost is not there'):
        install({'libraries': {'a': '1', 'ghost': '1'}})


def test_nothing_to_do_starts_no_pip(install, tmp_path):
    install({'torch': {}}, {})
    assert not (tmp_path / 'commands').exists()
