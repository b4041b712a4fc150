"""Whether the models of a cascade go together: files, tokenizers, chat templates, parsers."""
