"""Numbers whose true distribution is known."""
