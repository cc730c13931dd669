from .aff import AFF

__all__ = ['AFF']
