import pytest

from flaskapp.api.client_addresses import normalise


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("203.0.113.7:41000", "203.0.113.7"),
        ("203.0.113.7:0", "203.0.113.7"),
        (' "203.0.113.7:41000" ', "203.0.113.7"),
        ("'203.0.113.7'", "203.0.113.7"),
        ("[203.0.113.7]:80", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("[::ffff:203.0.113.7]:41000", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::9", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::1]", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::1]:41000", "2001:db8:1:2::/64"),
        ('"[2001:db8:1:2::1]:41000"', "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("[fe80::1%25eth0]:443", "fe80::/64"),
    ],
)
def test_a_port_brackets_a_zone_and_quotes_do_not_change_the_client(text: str, key: str) -> None:
    assert normalise(text) == key


@pytest.mark.parametrize(
    "text",
    [None, "", " ", "unknown", "_hidden", "me", "[", "[]", "[]:80", "[::1", "::1]:80", "1.2.3", "1.2.3.4.5:80",
     "1.2.3.4:", "1.2.3.4:http", "256.1.1.1", "1.2.3.4:1:2", "010.0.0.1", "for=1.2.3.4", "1.2.3.4\t5",
     "x" * 10_000, "\u0661.2.3.4"],
)  # fmt: skip
def test_all_invalid_addresses_count_as_one_client(text: str | None) -> None:
    assert normalise(text) == "unknown"
