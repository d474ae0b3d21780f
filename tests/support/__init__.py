"""What tests share: databases, workers, projections, oracles."""
