"""The stages of the pipeline: a file or a folder each, which reads like its section of the paper."""
