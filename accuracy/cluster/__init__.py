"""Runs a plan on the nodes of a cluster: who is where, who does what, and what becomes of what a lost node had."""
