"""starter as a virtual board runs it. src/starter.cpp is the same application for real boards."""

from __future__ import annotations

from hil.twin import Application


class App(Application):
    VERSIONS = (1,)  # an image is built of each; the running one is self.os.version

    def setup(self) -> None:
        self.sum = 0
        self.os.function("add", self.add)
        self.os.variable("sum", int, lambda: self.sum)

    def add(self, argument: str) -> int:
        self.sum += int(argument)
        self.os.publish("starter/sum", str(self.sum))
        return self.sum
