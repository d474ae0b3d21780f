"""Event files: read, checked, imported once; and those of the sample shop."""
