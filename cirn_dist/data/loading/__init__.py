"""From shard sets to batches: which sample is next, how it is augmented, and the workers that read ahead."""
