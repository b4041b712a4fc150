"""The judge's kernels on a CUDA device. Needs torch and triton alone."""
