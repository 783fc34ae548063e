"""Labels and image files; rooms of their own for shard sets, packing, loading and the procedural streets."""
