"""Registers the segmentation parts where mmseg can be imported.

Elsewhere the backbone still builds, and asking for a segmentation part tells why it is not there: ``import_error``.
"""

import_error: ImportError | None = None

try:
    from . import decode_heads  # noqa: F401
except ImportError as error:
    import_error = error
