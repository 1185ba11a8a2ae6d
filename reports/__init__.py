"""The tolerance report: one offline HTML page, made from what a run folder holds and nothing else."""
