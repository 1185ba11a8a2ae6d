"""Commands that are not in `cli`, which gives them their names: each parses, calls, writes and exits."""
