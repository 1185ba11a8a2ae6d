"""Differential numerical accuracy of bitsandbytes' quantized layers: draw, plan, measure, judge, store."""
