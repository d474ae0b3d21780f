"""Real pages in a headless Chromium: what tests do there, and the pictures of the documentation."""
