"""What a manager tells of single rows."""
