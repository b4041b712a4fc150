"""Where capacity goes. Pure: needs neither torch nor SGLang."""
