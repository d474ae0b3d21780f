"""The sample shop: made-up events in the shape of a real one's, for demonstrations and tests."""
