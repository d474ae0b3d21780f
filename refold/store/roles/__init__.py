"""The roles that people and processes log in as, and what each of them may do."""
