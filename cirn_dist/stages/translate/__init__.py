"""Stage 1: the Content Invariant Representation, by CycleGAN and by the other ways to one."""
