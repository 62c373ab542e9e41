"""What ``pyproject.toml`` cannot say: rigs and test applications lie beside the package, and inside it in the wheel.

``hil/resources.py`` finds them in either place.
"""

from setuptools import find_packages, setup

FOLDERS = {"hil.rigs": "rigs", "hil.firmware": "firmware"}
FILES = {"hil": ["py.typed"], "hil.cli": ["starter/**/*"], "hil.rigs": ["*"], "hil.firmware": ["**/*"]}
LEFTOVERS = ["__pycache__/*", "**/__pycache__/*", "**/*.pyc"]

setup(
    packages=[*find_packages(include=["hil", "hil.*"]), *FOLDERS],
    package_dir=FOLDERS,
    package_data=FILES,
    exclude_package_data=dict.fromkeys(FILES, LEFTOVERS),
)
