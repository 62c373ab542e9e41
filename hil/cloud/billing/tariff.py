"""What each thing costs in Data Operations.

The table :data:`RULES` is the whole of cloud API fact sheet 4.1 that this cloud covers. A retry is charged like
its first attempt, because delivery is counted by attempt.
"""

from __future__ import annotations

from dataclasses import dataclass

from hil.cloud.config import Policy, SizeRule
from hil.cloud.session.meter import Action, Charge
from hil.cloud.state.names import device_request, is_system_event

BLOCK = 1024  # bytes of one Data Operation under the newer rule
MAX_BLOCKS = 16
LARGE_EVENTS_SINCE = 6300  # system module version from which a block rule applies


@dataclass(frozen=True, slots=True)
class Rule:
    """``kind`` is the word a row carries; ``None`` means that it costs nothing."""

    kind: str | None
    by_size: bool = False
    free_for_system_names: bool = False


_FREE = Rule(None)
RULES: dict[Action, Rule] = {
    Action.PUBLISH: Rule("publish", by_size=True, free_for_system_names=True),
    Action.PUBLISH_AGAIN: Rule("publish", by_size=True, free_for_system_names=True),
    Action.DELIVERY: Rule("subscribe", by_size=True, free_for_system_names=True),
    Action.FUNCTION: Rule("function"),
    Action.VARIABLE: Rule("variable"),
    Action.STORED_POINT: Rule("storage"),
    Action.REGISTRATION: _FREE,
    Action.SESSION: _FREE,
    Action.KEEP_ALIVE: _FREE,
    Action.TIME: _FREE,
    Action.DESCRIBE: _FREE,
    Action.UPDATE: _FREE,
    Action.API_CALL: _FREE,
}


class Tariff:
    """The rules as one policy reads them."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def cost(self, charge: Charge) -> int:
        """How many Data Operations this is worth."""
        rule = RULES[charge.action]
        if rule.kind is None:
            return 0
        if rule.free_for_system_names and charge.event_name is not None and self._is_free(charge.event_name):
            return 0
        return self._blocks(charge) if rule.by_size else 1

    def _is_free(self, name: str) -> bool:
        if self._policy.bill_device_requests and device_request(name) is not None:
            return False
        return is_system_event(name, ignore_case=self._policy.free_names_ignore_case)

    def _blocks(self, charge: Charge) -> int:
        rule = self._policy.size_rule
        if rule is SizeRule.PER_MESSAGE:
            return 1
        if rule is SizeRule.BY_VERSION and (charge.system_version or 0) < LARGE_EVENTS_SINCE:
            return 1
        return min(MAX_BLOCKS, max(1, -(-charge.size // BLOCK)))
