"""refold web: one page in a browser, live."""
