"""What finished prompts feed back into later ones, and what is counted of them."""
