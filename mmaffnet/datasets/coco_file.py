"""Read a COCO annotation file, or say in one sentence where it breaks off."""
import json

from mmaffnet.engine.errors import UserError

LISTS = ('images', 'annotations', 'categories')


def read_coco(path, shown=None, require_annotations=True):
    """Read a COCO annotation file as pycocotools does, with its mistakes named.

    Args:
        path (str | Path): A local file.
        shown (str, optional): The file's name for the messages, where ``path`` is a local copy. Defaults to ``path``.
        require_annotations (bool): Whether the list ``annotations`` must be there; COCO's own files for its test
            pictures have none. Defaults to True.

    Returns:
        dict: With the lists ``images``, ``annotations`` and ``categories``; their entries are not looked at.

    Raises:
        UserError: Where the file cannot be read, is cut short, is no JSON, or lacks one of the lists.
    """
    shown = shown or path
    document = _parse(_text(path, shown), shown)
    if not isinstance(document, dict):
        raise UserError(f'{shown} holds a JSON {_json_name(document)}, but a COCO annotation file is an object with '
                        f'the lists {", ".join(LISTS)}')
    if not require_annotations:
        document.setdefault('annotations', [])
    wrong = [f'"{name}" ({"missing" if name not in document else _json_name(document[name])})' for name in LISTS
             if not isinstance(document.get(name), list)]
    if wrong:
        raise UserError(f'{shown} is no COCO annotation file of boxes: it lacks the list {" and ".join(wrong)}; it has '
                        f'{", ".join(map(repr, list(document)[:8])) or "nothing"}')
    return document


def _text(path, shown):
    try:
        with open(path, encoding='utf-8') as file:
            text = file.read()
    except UnicodeDecodeError as error:
        raise UserError(f'{shown} is no text in UTF-8 (byte {error.start}): it should be a COCO annotation file in '
                        'JSON, unpacked') from error
    except OSError as error:
        raise UserError(f'{shown} cannot be read: {error.strerror or error}') from error
    if not text.strip():
        raise UserError(f'{shown} is empty; it should be a COCO annotation file')
    if text.startswith('\ufeff'):  # pycocotools, which reads the file for the metric, refuses it too
        raise UserError(f'{shown} begins with a byte order mark, which JSON does not allow: save it as UTF-8 without')
    return text


def _parse(text, shown):
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        end = len(text.rstrip())
        if error.pos >= end or error.msg.startswith('Unterminated') or text[end - 1] not in ']}':
            raise UserError(f'{shown} is cut short: its JSON breaks off at its end, byte {len(text.encode())} (line '
                            f'{text.count(chr(10), 0, end) + 1}); get or write it again') from error
        raise UserError(f'{shown} is no JSON: {error.msg} at byte {len(text[:error.pos].encode())} (line {error.lineno}'
                        f', column {error.colno}), where it goes on with {text[error.pos:error.pos + 30]!r}') from error
    except RecursionError as error:
        raise UserError(f'{shown} is no COCO annotation file: its lists are nested too deeply') from error


def _json_name(value):
    names = {dict: 'object', list: 'list', str: 'text', bool: 'truth value', type(None): 'null'}
    return names.get(type(value), 'number')
