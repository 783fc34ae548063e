"""Stage 3: pseudo labels, and finetuning on them."""
