"""What a fold in Python cannot do without, piece by piece."""
