"""Control requests as both ends of the cable number them: ids, what travels each way, keys, states.

Facts: USB fact sheet 4.5 (requests and their messages) and 4.6 (raw requests). How a request travels is in
``hil.device.control``, what it can end with in ``hil.device.results``.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from hil.device.modules import ModuleFunction


class ControlRequest(IntEnum):
    """The id of each request; the words beside it are what the host sends -> what the board replies.

    Messages are protobuf but for ``ECHO`` and ``APP_CUSTOM``, whose bytes are free, and ``DIAGNOSTICS``, JSON.
    """

    ECHO = 1  # any bytes -> the same
    APP_CUSTOM = 10  # any bytes -> any bytes; the result is the application's

    DEVICE_ID = 20  # -> text
    SERIAL_NUMBER = 21  # -> text
    OS_VERSION = 30  # -> text
    NCP_VERSION = 31  # -> text, module version
    CAPABILITIES = 32  # -> flags
    SET_FEATURE = 33  # feature, enabled ->
    GET_FEATURE = 34  # feature -> enabled

    RESET = 40  # nothing either way, down to SAFE_MODE: the board restarts once it has answered
    FACTORY_RESET = 41
    DFU_MODE = 50
    SAFE_MODE = 60
    START_LISTENING = 70  # nothing either way
    STOP_LISTENING = 71
    DEVICE_MODE = 72  # -> mode
    SET_SETUP_DONE = 73  # done ->
    IS_SETUP_DONE = 74  # -> done
    SET_STARTUP_MODE = 75  # mode ->
    PROTECTION_STATE = 76  # -> state, overridden
    CHANGE_PROTECTION = 77  # action, nonce or signature -> nonce
    MODULE_INFO = 90  # -> modules
    ASSET_INFO = 91  # -> available, required
    DIAGNOSTICS = 100  # -> JSON

    SET_CLAIM_CODE = 200  # code ->
    IS_CLAIMED = 201  # -> claimed
    SET_KEY = 210  # key type, DER ->
    GET_KEY = 211  # key type -> the key's whole field
    SET_SERVER = 220  # protocol, host, port ->
    GET_SERVER = 221  # protocol -> host, port
    SET_PROTOCOL = 222  # protocol ->
    GET_PROTOCOL = 223  # -> protocol
    BLINK_ON = 230  # nothing either way
    BLINK_OFF = 231
    SET_SOFTAP_NAME = 240  # prefix, suffix ->

    BEGIN_UPDATE = 250  # size, format -> chunk size
    FINISH_UPDATE = 251  # validate only ->
    CANCEL_UPDATE = 252  # nothing either way
    UPDATE_DATA = 253  # a chunk ->
    CLOUD_STATUS = 300  # -> a CloudState
    CLOUD_CONNECT = 301  # nothing either way
    CLOUD_DISCONNECT = 302

    INTERFACE_LIST = 400  # -> interfaces
    INTERFACE = 401  # index -> one interface in full
    WIFI_JOIN_NEW = 500  # network with credentials ->
    WIFI_JOIN_KNOWN = 501  # SSID ->
    WIFI_KNOWN = 502  # -> networks
    WIFI_REMOVE = 503  # SSID ->
    WIFI_CLEAR = 504  # nothing either way
    WIFI_CURRENT = 505  # -> network
    WIFI_SCAN = 506  # -> networks
    WIFI_STORE = 507  # network with credentials ->
    SET_ACCESS_POINT = 550  # SIM, access point ->
    GET_ACCESS_POINT = 551  # SIM -> access point
    SET_SIM = 552  # SIM ->
    GET_SIM = 553  # -> SIM
    SIM_IDENTITY = 554  # -> ICCID, IMEI


# Those that restart the board: it leaves the cloud as soon as one is announced (USB fact sheet 4.3).
RESTARTING: Final = frozenset(
    (ControlRequest.RESET, ControlRequest.FACTORY_RESET, ControlRequest.DFU_MODE, ControlRequest.SAFE_MODE)
)


class CloudState(IntEnum):
    """What ``CLOUD_STATUS`` replies."""

    DISCONNECTED = 0
    CONNECTING = 1
    CONNECTED = 2
    DISCONNECTING = 3


class KeyType(IntEnum):
    """The keys that ``SET_KEY`` and ``GET_KEY`` name."""

    TCP_DEVICE_PRIVATE = 1
    TCP_DEVICE_PUBLIC = 2
    TCP_SERVER_PUBLIC = 3
    UDP_DEVICE_PRIVATE = 4
    UDP_DEVICE_PUBLIC = 5
    UDP_SERVER_PUBLIC = 6


# Up to Device OS 5.5 ``MODULE_INFO`` numbers its module types in a way of its own.
OLD_MODULE_TYPES: Final[dict[ModuleFunction, int]] = {
    ModuleFunction.BOOTLOADER: 1,
    ModuleFunction.SYSTEM_PART: 2,
    ModuleFunction.USER_PART: 3,
    ModuleFunction.MONOLITHIC: 4,
    ModuleFunction.NCP_FIRMWARE: 5,
    ModuleFunction.RADIO_STACK: 6,
}
