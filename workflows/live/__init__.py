"""Parts of the workflow of a live projection."""
