"""The first pass of a run whose key is a function: keys are made of events, and written down."""
