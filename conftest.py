"""The fixtures and options of the harness, for ``suites/`` and ``tests/`` alike. They cost nothing until used."""

pytest_plugins = [  # a file that imports another comes after it
    "fixtures.options",
    "fixtures.selection",
    "fixtures.boards",
    "fixtures.reporting",
    "fixtures.bench",
    "fixtures.cloud",
    "fixtures.network",
    "fixtures.operations",
]
