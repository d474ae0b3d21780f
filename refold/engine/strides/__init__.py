"""Following from far behind: long transactions, whose events are read ahead of them."""
