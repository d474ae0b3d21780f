"""How a stored event becomes what a handler is given: upcasters, and classes for its data. Pure."""
