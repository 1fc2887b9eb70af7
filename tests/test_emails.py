import time

import pytest

from flaskapp.emails import is_at, is_email


@pytest.mark.parametrize("address", ["mlops@gmail.com", "a.b-c_d%e+f@mail.example.co.uk", "1@2.de", "X@Y.COM"])
def test_a_valid_address_is_an_email(address: str) -> None:
    assert is_email(address)


@pytest.mark.parametrize(
    "text",
    ["", "mlops", "@gmail.com", "mlops@", "mlops@gmail", "a@b.c", "a b@c.de", "a@b.de\n", "\na@b.de", "a@b.de, c@d.de",
     "a@b.c|d", "a@b.||", "ä@b.de", ".a@b.de"],
)  # fmt: skip
def test_other_text_is_no_email(text: str) -> None:
    assert not is_email(text)


def test_the_longest_address_is_an_email_and_a_longer_one_is_not() -> None:
    longest = "a" * (254 - len("@b.de")) + "@b.de"
    assert is_email(longest)
    assert not is_email("a" + longest)


def test_a_long_almost_matching_text_is_refused_quickly() -> None:
    began = time.process_time()
    assert not is_email("a@" + "a.a" * 1_000_000)
    assert time.process_time() - began < 1


def test_the_domain_decides_the_provider() -> None:
    assert is_at("mlops@gmail.com", "gmail")
    assert is_at("mlops@HOTMAIL.co.uk", "hotmail")
    assert not is_at("mlops@gmail.com", "hotmail")
    assert not is_at("gmail@hotmail.com", "gmail")
    assert not is_at("mlops@notgmail.com", "gmail")
    assert not is_at("gmail", "gmail")
