"""Commands about runs: started, watched, steered, compared."""
