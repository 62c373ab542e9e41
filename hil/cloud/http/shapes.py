"""What devices look like in the API's JSON: every key that any client reads (cloud API fact sheet 2.3)."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from hil.cloud.state.devices import DeviceView
from hil.device.platforms import Radio, by_id


def iso_time(moment: float | None) -> str | None:
    """Seconds since 1970 the way the API writes them: milliseconds and a Z."""
    if moment is None:
        return None
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def radio_of(view: DeviceView) -> Radio | None:
    """What carries the device's packets; ``None`` for a platform this cloud has no facts about."""
    try:
        return by_id(view.platform_id).radio
    except KeyError:
        return None


def device_json(view: DeviceView) -> dict[str, Any]:
    """A device object. ``online`` and ``connected`` are both there: the CLI believes the second one only."""
    return {
        "id": view.id,
        "name": view.name,
        "owner": view.owner,
        "last_app": None,
        "last_ip_address": view.last_ip,
        "last_heard": iso_time(view.last_heard),
        "last_handshake_at": iso_time(view.last_handshake),
        "product_id": view.product_id,
        "online": view.online,
        "connected": view.online,
        "platform_id": view.platform_id,
        "cellular": radio_of(view) is Radio.CELLULAR,
        "notes": view.notes,
        "functions": list(view.functions),
        "variables": {name: kind.wire_name for name, kind in view.variables.items()},
        "status": "normal",
        "serial_number": None,
        "iccid": view.iccid,
        "imei": view.imei,
        "mac_wifi": None,
        "mobile_secret": None,
        "system_firmware_version": view.os_version,
        "firmware_version": view.firmware_version,
        "firmware_updates_enabled": True,
        "firmware_updates_forced": False,
    }


def variable_json(view: DeviceView, name: str, value: bool | int | float | str) -> dict[str, Any]:
    """The answer to a variable read."""
    return {
        "cmd": "VarReturn",
        "name": name,
        "result": json_number(value),
        "coreInfo": {
            "name": view.name,
            "deviceID": view.id,
            "connected": True,
            "last_handshake_at": iso_time(view.last_handshake),
            "last_heard": iso_time(view.last_heard),
            "product_id": view.product_id,
        },
    }


def json_number(value: bool | int | float | str) -> bool | int | float | str | None:
    """``value``, or ``None`` for a double that JSON cannot write."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def plain(value: bool | int | float | str) -> str:
    """A value as ``format=raw`` writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
