"""Worker processes that decode or encode ahead, results in order."""
