"""The text model: check e-mail addresses, and their provider."""

import re

MAX_ADDRESS = 254  # characters of an address that SMTP can carry (RFC 5321, section 4.5.3.1.3, less the brackets)

# The course's pattern, except that its last class, [A-Z|a-z], also matched a pipe.
ADDRESS = re.compile(r"\b[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}\b")


def is_email(text: str) -> bool:
    """Whether the whole text is one e-mail address. The length check keeps long texts from the pattern."""
    return len(text) <= MAX_ADDRESS and ADDRESS.fullmatch(text) is not None


def is_at(email: str, provider: str) -> bool:
    """Whether `email` is at a provider: "gmail" for mlops@gmail.com, the first label of the domain."""
    domain = email.rpartition("@")[2]
    return is_email(email) and domain.lower().startswith(f"{provider}.")
