"""PyTorch in place of what SGLang's NGRAM speculation lacks on hosts without an accelerator.

SGLang verifies drafts with compiled operations. Its ordinary wheel has them for CUDA alone.
"""
