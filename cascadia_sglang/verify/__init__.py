"""Reading a smaller tier's draft in one prefill, and going on where the two part."""
