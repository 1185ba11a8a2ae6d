"""Planted workloads: what a worker is made to do to see what its parent makes of it."""
