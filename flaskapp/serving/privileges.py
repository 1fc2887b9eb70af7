"""The user of the processes beside the web workers: the same as theirs, where root starts the server."""

import os
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Identity:
    """Ids of a user, a group and supplementary groups. Its text is an argument of a process, which `parse` reads."""

    user: int
    group: int
    others: tuple[int, ...] = ()

    @classmethod
    def of_workers(cls, cfg: Any) -> "Identity":
        """By gunicorn's `--user`, `--group` and `--initgroups`."""
        others: tuple[int, ...] = ()
        if cfg.initgroups:
            import pwd  # where there is no such module, there are no such options

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
        """Become this user, for good. Nothing changes where this process is it."""
        if not self.is_ours:
            os.setgroups(self.others)
            os.setgid(self.group)
            os.setuid(self.user)
