"""What a person sees of a run: live progress, tables, the metrics log and one self-contained HTML page."""
