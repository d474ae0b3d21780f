"""The workflow types: orchestration only; all work is done by activities.

Nothing is imported here: Temporal's sandbox imports a workflow's modules anew for each run, this
one among them, and would import all types for the sake of one.
"""
