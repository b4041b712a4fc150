"""What SGLang needs on a machine where it is not installed."""
