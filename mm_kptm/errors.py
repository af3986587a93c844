"""The one exception a user may cause."""


class UserError(ValueError):
    """Something a user asked for cannot be done.

    The message is one lower-case sentence: what was asked, what stands in the way (with its values, and the file
    and line or the key), and what would work. The command line prints it and exits with code 2; a library caller
    may catch it, as itself or as a ``ValueError``. Anything else that is raised is a fault of ours.
    """
