"""Moving capacity while requests run: observe, decide, order the steps, carry them out."""
