"""Leases on the firewall: what one client made, counted and removed together."""

from __future__ import annotations

import ipaddress
import itertools
import threading
from collections.abc import Callable, Sequence

from hil.errors import NetworkError
from hil.netlab.firewall import (
    TABLE,
    AllowOnly,
    Block,
    Count,
    Direction,
    Flow,
    Kind,
    Ruleset,
    parse_counters,
    render_base,
    render_close,
    render_open,
    render_rules,
    set_name,
)
from hil.netlab.namespaces import NetworkNamespace
from hil.netlab.nft import Nftables


class Firewall:
    """The table ``inet hil`` in one network namespace, with any number of leases. Thread-safe."""

    def __init__(
        self, namespace: NetworkNamespace, boards: ipaddress.IPv4Network, hooks: Sequence[str]
    ) -> None:
        """Make the table. Raises ``NetworkError``, among others when another process owns one already."""
        self.boards = boards
        self._nft = Nftables(namespace)
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._open: list[int] = []
        try:
            self._nft.run(render_base(hooks))
        except BaseException:
            self._nft.close()
            raise

    def lease(self) -> Lease:
        """A new lease without rules; its counters start at zero."""
        with self._lock:
            number = next(self._numbers)
            self._nft.run(render_open(number, self._open, self.boards))
            self._open.append(number)
        return Lease(self, number)

    def close(self) -> None:
        """Remove the table with all leases. Idempotent."""
        self._nft.close()

    def counters(self, lease: int, kind: Kind) -> dict[Flow, Count]:
        """What ``lease`` counted since it was made."""
        counts: dict[Flow, Count] = {}
        for direction in Direction:
            text = self._nft.query(f"list set {TABLE} {set_name(lease, kind, direction)}")
            counts.update(parse_counters(text, direction))
        return counts

    def apply(self, lease: int, rules: Ruleset) -> None:
        """Make ``rules`` the rules of ``lease``, all at once."""
        self._nft.run(render_rules(lease, rules, self.boards))

    def remove(self, lease: int) -> None:
        """Remove ``lease`` with its rules and counters."""
        with self._lock:
            self._open.remove(lease)
            self._nft.run(render_close(lease, self._open, self.boards))


class Lease:
    """One client's rules. Not thread-safe: a client's requests come one after the other."""

    def __init__(self, firewall: Firewall, number: int) -> None:
        self.number = number
        self._firewall = firewall
        self._rules = Ruleset()

    @property
    def rules(self) -> Ruleset:
        return self._rules

    def change(self, edit: Callable[[Ruleset], Ruleset]) -> None:
        """Replace the rules by ``edit(rules)`` in one transaction. Raises ``NetworkError``, then unchanged."""
        rules = edit(self._rules)
        self._check(rules)
        self._firewall.apply(self.number, rules)
        self._rules = rules

    def clear(self) -> None:
        """Take all rules away. The counters stay, so what was stopped can still be asked."""
        self.change(lambda _: Ruleset())

    def counters(self, kind: Kind) -> dict[Flow, Count]:
        """What this lease's rules stopped, or what passed all leases, since this one was made."""
        return self._firewall.counters(self.number, kind)

    def close(self) -> None:
        """Remove rules and counters."""
        self._firewall.remove(self.number)

    def _check(self, rules: Ruleset) -> None:
        stops: list[Block | AllowOnly] = [*rules.blocks, *rules.allows]
        for rule in stops:
            everything = isinstance(rule, AllowOnly) or rule.service is None
            if rule.board is None and everything and self._firewall.boards.prefixlen == 0:
                raise NetworkError(
                    "this rule would cut off the machine itself",
                    found="every address counts as a board here",
                    hint="name a board or a port, or start the service with the boards' own network",
                )
            if rule.board is not None and ipaddress.IPv4Address(rule.board) not in self._firewall.boards:
                raise NetworkError(
                    f"{rule.board} is not a board's address", expected=f"one in {self._firewall.boards}"
                )
