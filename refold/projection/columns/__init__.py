"""What a value becomes when it is stored in a column.

A handler's row goes through here after each event, so that a row carried in memory and a row read
back from PostgreSQL are the same. Otherwise rounding, for example, would depend on where batches
end. A wrong value is also named at the event that made it, not at some later COPY.
"""

from refold.projection.columns.kind import Kind, Settle, WrongValue
from refold.projection.columns.kinds import is_mutable, kind_of, settle_for

__all__ = ["Kind", "Settle", "WrongValue", "is_mutable", "kind_of", "settle_for"]
