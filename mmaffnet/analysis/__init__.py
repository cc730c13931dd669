"""Counting, tables and figures: what the scripts under ``tools/analysis_tools`` print and draw."""
