"""Each call of the public API in use: docs/api/ shows these, and a test runs them."""
