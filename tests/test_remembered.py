from flaskapp import remembered
from flaskapp.remembered import RememberedLogins


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_pair_is_remembered_and_its_like_are_not() -> None:
    pairs = RememberedLogins()
    pairs.add("ab", "c")
    assert ("ab", "c") in pairs
    for other in (("a", "bc"), ("ab", "C"), ("abc", ""), ("c", "ab")):
        assert other not in pairs


def test_a_pair_is_forgotten_in_time_however_often_it_comes() -> None:
    clock = Clock()
    pairs = RememberedLogins(clock)
    pairs.add("ada", "secret")
    for clock.now in range(remembered.SECONDS):
        assert ("ada", "secret") in pairs
    clock.now = remembered.SECONDS
    assert ("ada", "secret") not in pairs


def test_only_so_many_are_remembered() -> None:
    pairs = RememberedLogins()
    for number in range(remembered.ENTRIES + 1):
        pairs.add("ada", str(number))
    assert len(pairs._pairs) == remembered.ENTRIES


def test_no_name_and_no_password_is_kept_and_two_processes_keep_different_hashes() -> None:
    kept = []
    for _ in range(2):
        pairs = RememberedLogins()
        pairs.add("ada-canary", "canary-secret")
        assert "canary" not in str(vars(pairs)) + str(list(pairs._pairs))
        kept += list(pairs._pairs)
    assert kept[0] != kept[1]
