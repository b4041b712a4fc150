"""Which failures of one kind are logged: the first at once, and the more of them, the fewer."""


def is_logged(count: int) -> bool:
    """Whether to log the failure with this number: the 1st, 10th, 100th and so on.

    Args:
        count: of the failures of its kind so far, with this one; at least 1.
    """
    return str(count).rstrip("0") == "1"
