"""All benches that can be laid side by side, in one go."""
