"""What a person reads while a run works and in a terminal afterwards: progress, trackers, tables."""
