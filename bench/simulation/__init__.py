"""A billion events, simulated: real workflows on a real Temporal, activities that only pretend."""
