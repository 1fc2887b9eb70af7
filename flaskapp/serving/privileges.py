"""The user of a server's processes. If root starts the server, all of them run as the web workers' user."""

import os
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Identity:
    """Ids of a user, its group and its supplementary groups. `str` and `parse` pass them on the command line."""

    user: int
    group: int
    others: tuple[int, ...] = ()

    @classmethod
    def of_workers(cls, cfg: Any) -> "Identity":
        """Return the identity of gunicorn's `--user`, `--group` and `--initgroups`."""
        others: tuple[int, ...] = ()
        if cfg.initgroups:
            import pwd  # imported late: systems without it lack these options, too

            others = tuple(os.getgrouplist(pwd.getpwuid(cfg.uid).pw_name, cfg.gid))
        return cls(cfg.uid, cfg.gid, others)

    @classmethod
    def parse(cls, text: str) -> "Identity":
        user, group, others = text.split(":")
        return cls(int(user), int(group), tuple(map(int, others.split(","))) if others else ())

    def __str__(self) -> str:
        return f"{self.user}:{self.group}:{','.join(map(str, self.others))}"

    @property
    def is_ours(self) -> bool:
        return os.geteuid() == self.user

    def take(self) -> None:
        """Become this user irrevocably. Does nothing if this process runs as this user."""
        if not self.is_ours:
            os.setgroups(self.others)
            os.setgid(self.group)
            os.setuid(self.user)
