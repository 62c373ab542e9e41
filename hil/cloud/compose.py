"""The Device Cloud as it is shipped: the core with its features. A new feature is a folder and a line here."""

from __future__ import annotations

from hil.clock import Clock
from hil.cloud.billing.feature import Billing
from hil.cloud.config import CloudConfig
from hil.cloud.core.cloud import Cloud
from hil.cloud.core.feature import Feature
from hil.cloud.http.feature import HttpApi

# In the order in which they open; they close the other way round.
FEATURES: tuple[type[Feature], ...] = (
    Billing,
    HttpApi,  # last: who gets through finds the others open
)


def compose(config: CloudConfig, *more: type[Feature], clock: Clock | None = None) -> Cloud:
    """A cloud that is not started yet, with all features and ``more``, which open before them.

    ``clock``: the real time unless told.
    """
    return Cloud(config, (*more, *FEATURES), clock)
