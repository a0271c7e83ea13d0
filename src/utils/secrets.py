"""Keep passwords out of what people and files get to see."""

import re

_PASSWORD = re.compile(r"(?<=://)([^\s/:@]*):[^\s/@]+@")


def without_passwords(text: str) -> str:
    """Replace passwords in the addresses that a text holds.

    Example:
        >>> without_passwords("no answer from http://alice:secret@host:5000/api")
        'no answer from http://alice:***@host:5000/api'
    """
    return _PASSWORD.sub(r"\1:***@", text)
