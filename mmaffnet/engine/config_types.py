"""What a type in a config names, which keys it takes, and whose mistake an exception in its constructor is."""
import contextlib
import difflib
import inspect
import traceback

from mmengine.hooks import Hook
from mmengine.registry import Registry

import mmaffnet.registry

from .errors import Stop, UserError

MODULES = ('mmaffnet.models.', 'mmaffnet.datasets.')
ONE_VALUE = 'Expected more than 1 value per channel when training'  # torch.nn.functional.batch_norm


@contextlib.contextmanager
def config_mistakes(cfg):
    """Turn what our constructors, or the look-up of a type, raise into one sentence.

    Nothing but the config reaches a constructor, so what it refuses is the config's mistake. What is raised elsewhere
    passes, but for a batch normalisation that has one value to normalise.

    Args:
        cfg (Config): For its file name.

    Raises:
        UserError: In place of such an exception.
    """
    try:
        yield
    except Stop:
        raise
    except Exception as error:
        if isinstance(error, ValueError) and str(error).startswith(ONE_VALUE):
            raise UserError('a training batch of one picture cannot be normalised where a map has one position: leave '
                            'out a smaller last batch (--cfg-options train_dataloader.drop_last=True), or choose '
                            'another train_dataloader.batch_size') from error
        where = _constructor(error)
        if where is None:
            raise
        raise UserError(f'config {cfg.filename}: {where}{_sentence(error)}') from error


def _constructor(error):
    """Name in front of the sentence where one of our constructors or mmengine's look-up raised the error, else None."""
    frames = list(traceback.walk_tb(error.__traceback__))
    for frame, _ in frames:
        ours = frame.f_globals.get('__name__', '').startswith(MODULES) or isinstance(frame.f_locals.get('self'), Hook)
        if frame.f_code.co_name == '__init__' and ours and 'self' in frame.f_locals:
            return f'{type(frame.f_locals["self"]).__name__}: '
    last = frames[-1][0]
    # mmengine calls constructors in this frame: it is the last one where a type is unknown or a key is.
    if last.f_code.co_name == 'build_from_cfg' and isinstance(error, KeyError | TypeError):
        return ''
    return None


def _sentence(error):
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    text = ' '.join(text.split()).split('. Please check whether')[0]
    if not text:  # a bare assertion: its line says what it asked for
        text = traceback.extract_tb(error.__traceback__)[-1].line
    return text if isinstance(error, ValueError | KeyError) else f'{text} ({type(error).__name__})'


def accepted_keys(target):
    """Find the keywords that a class or function of ours takes.

    Args:
        target (type | Callable): Where its ``__init__`` passes ``**kwargs`` on, the bases' are taken too.

    Returns:
        set[str]: The keywords.
    """
    inits = [base.__dict__['__init__'] for base in inspect.getmro(target) if '__init__' in base.__dict__] \
        if inspect.isclass(target) else [target]
    names = set()
    for init in inits:
        if init is object.__init__:
            break
        parameters = inspect.signature(init).parameters.values()
        names |= {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)} - {'self'}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return names


def our_class(kind, path):
    """Find the class of mmaffnet that a type names.

    Args:
        kind (str | type | None): Value of the key ``type``.
        path (str): Dotted path of the dict that it stands in; token mixers have a registry of their own.

    Returns:
        type | None: None for everybody else's.

    Raises:
        UserError: Where the type asks for a part of mmaffnet that is none.
    """
    if not isinstance(kind, str):
        return kind if getattr(kind, '__module__', '').startswith('mmaffnet.') else None
    scope, _, name = kind.rpartition('.')
    if path.rsplit('.', 1)[-1] == 'token_mixer':
        return mmaffnet.registry.TOKEN_MIXERS.get(name)
    registries = [r for r in vars(mmaffnet.registry).values()
                  if isinstance(r, Registry) and r.scope == 'mmaffnet' and r.parent is not None]
    if not scope:  # a bare name is ours only where we put it into mmengine's own registry
        found = (registry.parent.module_dict.get(name) for registry in registries)
        return next((target for target in found if getattr(target, '__module__', '').startswith('mmaffnet.')), None)
    if scope != 'mmaffnet':
        return None
    for load in (False, True):  # what is imported already first: a location may import a whole host
        for registry in registries:
            if load:
                registry.import_from_location()
            if name in registry.module_dict:
                return registry.module_dict[name]
    known = sorted({key for registry in registries for key in registry.module_dict})
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    if not hasattr(mmaffnet, name):  # a part whose host is missing says so when it is asked for
        hint = f'did you mean {" or ".join(close)}?' if close else f'there are: {", ".join(known)}'
        raise UserError(f'{path}.type is {kind!r}, but mmaffnet has no {name}; {hint}')
    return None


def look_up(root, cfg, kind):
    """Find what a type names in the config's scope.

    Args:
        root (Registry): One of mmengine's.
        cfg (Config): Its ``default_scope`` decides.
        kind (str): Value of the key ``type``.

    Returns:
        type | None: None where it is unknown.
    """
    with root.switch_scope_and_registry(cfg.get('default_scope')) as registry:
        return registry.get(kind)
