"""What ``pyproject.toml`` cannot say: rigs and test applications lie beside the package, and inside it in the wheel.

``hil/resources.py`` finds them in either place.
"""

from setuptools import find_packages, setup

FOLDERS = {"hil.rigs": "rigs", "hil.firmware": "firmware"}
LEFTOVERS = ["__pycache__/*", "**/__pycache__/*", "**/*.pyc"]

setup(
    # Twins are imported as firmware.<app>.twin, too.
    packages=[*find_packages(include=["hil", "hil.*", "firmware", "firmware.*"]), *FOLDERS],
    package_dir=FOLDERS,
    package_data={"hil": ["py.typed"], "hil.rigs": ["*"], "hil.firmware": ["**/*"]},
    exclude_package_data=dict.fromkeys(FOLDERS, LEFTOVERS),
)
