"""Bring public data sets into the layouts that the hosts read; what tools/dataset_converters/ calls."""
