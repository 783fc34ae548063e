"""The pipeline's stages, one file each, each reading like its section of the paper."""
