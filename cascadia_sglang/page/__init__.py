"""The page `GET /cascadia`: its files, a bounded history, and predictions for other thresholds."""
