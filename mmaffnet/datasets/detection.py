"""Registers the data sets for detection where mmdet can be imported; elsewhere ``import_error`` tells why not."""

import_error: ImportError | None = None

try:
    from . import coco  # noqa: F401
except ImportError as error:
    import_error = error
