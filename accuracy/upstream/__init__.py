"""Upstream's published behaviours as experiments: what its own tests do, with the facts and tensors they look at."""
