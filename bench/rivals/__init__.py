"""Systems that people use, or would write, in place of the cascade, asked the same questions."""
