"""What benches share: figures, processor time, what a run's history tells, more workers."""
