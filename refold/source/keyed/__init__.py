"""The log of a projection whose key is a function, where a run has written its keys down."""
