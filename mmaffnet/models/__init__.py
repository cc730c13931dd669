"""Models of mmaffnet. Parts that need a host stand in modules of their own, which the registries import."""

from . import backbones, layers, token_mixers

__all__ = ['backbones', 'layers', 'token_mixers']
