"""The platform's own errors.

Belongs here: error types whose message is safe to show, log and store. Does not: messages that
quote user text or a secret.
"""


class SimPlatformError(Exception):
    """An error whose text names ids, counts, keys and places only, so that it may be logged,
    stored and shown.

    Every other exception type is treated as unsafe at the edge of the platform: only its type and
    place are shown, never its text.
    """


class BadInputError(SimPlatformError):
    """Something that the user gave (a file, a key, an option) is wrong; the message names it, its
    value and the way out.
    """
