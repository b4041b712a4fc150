"""The pre-generation router: where a prompt begins its climb, predicted from the prompt alone."""
