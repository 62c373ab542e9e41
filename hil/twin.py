"""What the twin of an application is written with: the names that stay, whatever moves behind them.

A twin is the application as a virtual board runs it. It lies in ``<folder>/<application>/twin.py``, where a rig file
or ``pyproject.toml`` names the folder, and is a class ``App``::

    from hil.twin import Application

    class App(Application):
        VERSIONS = (1, 2)                 # images greenhouse@1 and greenhouse@2 are built; one version is the default

        def setup(self) -> None:          # once, when the board is online (SYSTEM_THREAD = True: at once)
            self.liters = 0
            self.os.function("water", self.water)
            self.os.variable("liters", int, lambda: self.liters)
            self.os.publish("garden/ready", str(self.os.version))

        def loop(self) -> None:           # about every 10 ms
            ...

        def water(self, argument: str) -> int:
            self.liters += int(argument)
            self.os.publish("garden/watered", argument)
            return self.liters

What raises an exception says so on the board's serial port, with file and line; the board goes on.
"""

from hil.virtual.app.wiring import (
    ERROR_INVALID_ARGUMENT,
    ERROR_INVALID_STATE,
    ERROR_LIMIT_EXCEEDED,
    ERROR_NOT_SUPPORTED,
    AckMode,
    Application,
    EventHandler,
    FunctionHandler,
    Publication,
    PublishState,
    SystemMode,
    VariableValue,
    Wiring,
)
from hil.wire.messages import VariableType

__all__ = [
    "ERROR_INVALID_ARGUMENT",
    "ERROR_INVALID_STATE",
    "ERROR_LIMIT_EXCEEDED",
    "ERROR_NOT_SUPPORTED",
    "AckMode",
    "Application",
    "EventHandler",
    "FunctionHandler",
    "Publication",
    "PublishState",
    "SystemMode",
    "VariableType",
    "VariableValue",
    "Wiring",
]
