"""Snapshots: a read model as it was at a position.

There are two kinds. A *copy* is a generation of its own, with all rows (`copies`). One that is kept
as *changes* is a mark in a generation (`kept`), together with what the rows were before they were
first changed after it (`changes`). The rows of such a snapshot are those of its generation's table,
with these in the place of what they have become (`rebuilt`).
"""
