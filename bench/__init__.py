"""What the harness costs, measured side by side with what it cannot do without. `python -m bench` writes a page."""
