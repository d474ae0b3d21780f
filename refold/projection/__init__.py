"""What a projection is: its declaration, keys, columns and policies. Pure."""
