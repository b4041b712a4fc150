"""The files of a model, in a folder or on the model hub."""
