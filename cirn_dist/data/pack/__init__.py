"""From a raw dataset to a shard set: recipes, walking, matching, encoding."""
