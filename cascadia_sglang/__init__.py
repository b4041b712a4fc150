"""Cascadia: model cascades inside one SGLang server."""
