"""The fixtures and options of the harness, for ``suites/`` and ``tests/`` alike. They cost nothing until used."""

pytest_plugins = [  # a file that imports another comes after it
    "hil.plugin.options",
    "hil.plugin.selection",
    "hil.plugin.parallel",
    "hil.plugin.boards",
    "hil.plugin.reporting",
    "hil.plugin.rig",
    "hil.plugin.cloud",
    "hil.plugin.network",
    "hil.plugin.operations",
]
