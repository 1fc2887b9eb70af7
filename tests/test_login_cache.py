from flaskapp import login_cache
from flaskapp.login_cache import LoginCache


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_login_is_cached_and_similar_ones_are_not() -> None:
    pairs = LoginCache()
    pairs.add("1", "ab", "c")
    assert ("1", "ab", "c") in pairs
    for other in (
        ("1", "a", "bc"),
        ("1", "ab", "C"),
        ("1", "abc", ""),
        ("1", "c", "ab"),
        ("2", "ab", "c"),
        ("1a", "b", "c"),
    ):
        assert other not in pairs


def test_a_cached_login_expires_however_often_it_is_used() -> None:
    clock = Clock()
    pairs = LoginCache(clock)
    pairs.add("1", "ada", "secret")
    for clock.now in range(login_cache.TTL):
        assert ("1", "ada", "secret") in pairs
    clock.now = login_cache.TTL
    assert ("1", "ada", "secret") not in pairs


def test_the_number_of_cached_logins_is_limited() -> None:
    pairs = LoginCache()
    for number in range(login_cache.MAX_ENTRIES + 1):
        pairs.add("1", "ada", str(number))
    assert len(pairs._logins) == login_cache.MAX_ENTRIES


def test_the_cache_has_no_names_or_passwords_and_hashes_differ_between_processes() -> None:
    kept = []
    for _ in range(2):
        pairs = LoginCache()
        pairs.add("1", "ada-canary", "canary-secret")
        assert "canary" not in str(vars(pairs)) + str(list(pairs._logins))
        kept += list(pairs._logins)
    assert kept[0] != kept[1]
