"""Control requests about the SIMs of Gen 3 cellular boards: 550 to 554.

Facts: USB fact sheet 4.5 and protocol fact sheet 11.6 (who answers).
"""

from __future__ import annotations

from collections.abc import Callable

from hil.device.protobuf import Fields, Writer
from hil.device.releases import version_tuple
from hil.device.requests import ControlRequest
from hil.device.results import Result
from hil.virtual.deviceos.control import Reply
from hil.virtual.hardware.machine import Machine
from hil.virtual.hardware.stored import AccessPoint

_SIMS = (1, 2)  # internal, external
_IMEI_SINCE = (5, 8, 0)


class CellularRequests:
    """The five requests of one board. What is set is kept; the virtual network does not look at it."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def handlers(self) -> dict[int, Callable[[bytes], Reply]]:
        """All of them."""
        return {
            ControlRequest.SET_ACCESS_POINT: self._set_access_point,
            ControlRequest.GET_ACCESS_POINT: self._get_access_point,
            ControlRequest.SET_SIM: self._set_sim,
            ControlRequest.GET_SIM: lambda _: Reply(
                data=Writer().uint(1, self._machine.stored.active_sim).finish()
            ),
            ControlRequest.SIM_IDENTITY: self._identity,
        }

    def _set_access_point(self, payload: bytes) -> Reply:
        fields = Fields(payload)
        sim, point = fields.uint(1), Fields(fields.data(2))
        if sim not in _SIMS:
            return Reply(Result.INVALID_ARGUMENT)
        points = self._machine.stored.access_points
        if point.uint(4):
            points.pop(sim, None)
        else:
            points[sim] = AccessPoint(point.text(1), point.text(2), point.text(3))
        self._machine.save_stored()
        return Reply()

    def _get_access_point(self, payload: bytes) -> Reply:
        sim = Fields(payload).uint(1)
        if sim not in _SIMS:
            return Reply(Result.INVALID_ARGUMENT)
        point = self._machine.stored.access_points.get(sim)
        settings = Writer()
        if point is None:
            settings.uint(4, 1)
        else:
            settings.text(1, point.apn).text(2, point.user).text(3, point.password)
        return Reply(data=Writer().message(1, settings).finish())

    def _set_sim(self, payload: bytes) -> Reply:
        sim = Fields(payload).uint(1)
        if sim not in _SIMS:
            return Reply(Result.INVALID_ARGUMENT)
        self._machine.stored.active_sim = sim
        self._machine.save_stored()
        return Reply()

    def _identity(self, _payload: bytes) -> Reply:
        reply = Writer().text(1, self._machine.iccid)
        if version_tuple(self._machine.device_os) >= _IMEI_SINCE:
            reply.text(2, self._machine.imei)
        return Reply(data=reply.finish())
