"""The read models of the bench of following: the same rows, without and with more indexes."""

from __future__ import annotations

from sqlalchemy import Index

from bench.plain import counted

keyed = counted("keyed")
indexed = counted(
    "indexed",
    Index("indexed_count", "count"),
    Index("indexed_total", "total"),
    Index("indexed_last", "last"),
    Index("indexed_kind", "kind", "id"),
)
