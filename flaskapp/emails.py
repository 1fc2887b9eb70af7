"""The text model: is this an e-mail address, and is it one of that provider?"""

import re

MAX_ADDRESS = 254  # characters of an address that SMTP can carry (RFC 5321, section 4.5.3.1.3, less the brackets)

# The course's pattern. Its last class, [A-Z|a-z], let a pipe through.
ADDRESS = re.compile(r"\b[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}\b")


def is_email(text: str) -> bool:
    """Whether the whole text is one e-mail address. Longer than an address can be: no, without a look at it."""
    return len(text) <= MAX_ADDRESS and ADDRESS.fullmatch(text) is not None


def is_at(email: str, provider: str) -> bool:
    """Whether `email` is an address at a provider, such as "gmail" for mlops@gmail.com, by the domain's first label."""
    domain = email.rpartition("@")[2]
    return is_email(email) and domain.lower().startswith(f"{provider}.")
