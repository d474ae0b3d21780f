"""What the workflows have done: classes that hold their engine, methods that are activities."""
