"""The files of a run's folder other than checkpoints, typed: settings, lock, results, metrics, provenance."""
