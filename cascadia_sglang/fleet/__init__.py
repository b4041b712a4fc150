"""Which workers there are: started, replaced when lost, drained, stopped."""
