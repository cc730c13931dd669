"""Registers the detection parts where mmdet can be imported.

Elsewhere the backbone still builds, and asking for a detection part tells why it is not there: ``import_error``.
"""

import_error: ImportError | None = None

try:
    from . import data_preprocessors, dense_heads, necks, task_modules  # noqa: F401
except ImportError as error:
    import_error = error
