"""Billing as a feature of the cloud: the ledger of Data Operations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from hil.cloud.billing.ledger import MIGRATIONS, Ledger
from hil.cloud.billing.tariff import Tariff
from hil.cloud.core.api import Api
from hil.cloud.core.feature import Feature
from hil.cloud.session.meter import Meter


class Billing(Feature):
    """Counts what devices and cloud do for each other, under the policy of the cloud."""

    name = "operations"
    migrations: ClassVar[Sequence[str]] = MIGRATIONS

    def __init__(self, api: Api) -> None:
        super().__init__(api)
        self.ledger = Ledger(api.store, Tariff(api.config.policy), api.config.retention)

    @property
    def meter(self) -> Meter:
        return self.ledger
