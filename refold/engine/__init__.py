"""What is done, free of Temporal: plans, folds, cutovers, and a run's life in the database."""
