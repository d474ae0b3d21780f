"""Commands that begin a project, and a projection in it."""
