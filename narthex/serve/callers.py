"""Who is asking."""

from __future__ import annotations

from typing import NamedTuple

from narthex.store import Role


class Caller(NamedTuple):
    """Who asks. `user` is the id of a user in the store; on a server without keys it is empty, and there is one.

    What is kept belongs to `user`; others get a 404 for it, administrators too.
    """

    user: str = ""
    name: str = ""
    groups: tuple[str, ...] = ()
    role: Role = "admin"
    key_id: str = ""

    @property
    def tenant(self) -> str:
        """Work of different ones is never shared, cached prompts neither: their timing would tell."""
        return self.user
