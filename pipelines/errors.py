"""The one kind of error that is shown in words, without a traceback."""


class UserError(Exception):
    """Something that whoever runs the program can mend; the message says how."""
