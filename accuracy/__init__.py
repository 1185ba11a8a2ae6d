"""Differential numerical accuracy of bitsandbytes' quantized layers: draw, plan, measure, judge, store."""

__version__ = "0.1.0"
