"""Drafts: a tier reads a smaller tier's answer in one prefill and continues from there."""
