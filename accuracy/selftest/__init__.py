"""Faults planted into the real library, and which of them the pipeline sees: the harness tests itself."""
