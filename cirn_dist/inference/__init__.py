"""What a trained network says of images: without a run, a lock or a process group."""
