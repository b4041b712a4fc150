"""JSON schemas of the files that commands read and write; `python -m cascadia_sglang.schemas`."""
