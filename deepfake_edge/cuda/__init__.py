"""A small layer over the CUDA driver: memory, streams, graphs and kernels, without a runtime that computes networks."""
