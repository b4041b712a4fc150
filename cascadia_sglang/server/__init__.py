"""The main process of a cascade: put together, started, watched, shut down."""
