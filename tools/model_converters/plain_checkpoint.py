"""List what a checkpoint file would run, or trust it on purpose and write a plain copy.

    python tools/model_converters/plain_checkpoint.py theirs.pth                     # names only, nothing runs
    python tools/model_converters/plain_checkpoint.py theirs.pth mine.pth --trust    # runs theirs.pth once
"""
import argparse

from mmaffnet.engine.errors import cli
from mmaffnet.engine.plain_file import make_plain, names_in


@cli
def main(argv=None):
    parser = argparse.ArgumentParser(description='List the globals that a checkpoint names, or write a plain copy.')
    parser.add_argument('file', help='local checkpoint file')
    parser.add_argument('out', nargs='?', help='plain checkpoint to write (.pth); without it names are listed only')
    parser.add_argument('--trust', action='store_true',
                        help='run what the file says, with all your rights: only for files of people whom you trust')
    args = parser.parse_args(argv)
    if args.trust and not args.out:
        parser.error('--trust needs a file to write')
    if args.out:
        print(f'written: {make_plain(args.file, args.out, args.trust)}')
        return
    known, unknown = names_in(args.file)
    print('\n'.join([*(f'known    {name}' for name in known), *(f'UNKNOWN  {name}' for name in unknown)]))
    print(f'{len(unknown)} unknown names: ' + ('loading it needs --trust' if unknown else 'it needs no trust'))


if __name__ == '__main__':
    main()
