"""The judge's tensor operations and their references, a module per operation.

They import torch and triton only. `layout` needs neither.
"""
