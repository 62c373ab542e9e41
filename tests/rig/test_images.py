"""Where images are found, in which order, and what an image may not say of itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from hil.device.platforms import by_name
from hil.errors import UsageError, WireError
from hil.rig.images import FirmwareStore
from hil.rig.imagesources import NamedImage, named_by_option
from hil.rig.rigfile import load_rig
from tests.rig.memory_bench import user_image

ARGON, BORON = by_name("argon"), by_name("boron")


def write(
    path: Path, text: bytes = b"greenhouse", platform: str = "argon", product: int | None = None
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(user_image(by_name(platform), own=text, product_version=product))
    return path


def given(*options: str) -> list[NamedImage]:
    return [named_by_option(option) for option in options]


def test_a_folder_has_the_newest_or_the_named_version(tmp_path: Path) -> None:
    for version in ("1", "2", "10"):
        write(tmp_path / f"probe@{version}" / "argon.bin", f"HIL-APP:probe@{version}\n".encode())
    store = FirmwareStore(tmp_path)
    assert store.versions("probe") == ["1", "2", "10"]
    assert store.image("probe", None, ARGON).version == "10"
    first = store.image("probe", "2", ARGON)
    assert first.version == "2"
    assert store.image("probe", "2", ARGON) is first, "read once"


def test_an_image_that_does_not_say_what_it_is_has_the_name_it_was_found_by(tmp_path: Path) -> None:
    write(tmp_path / "greenhouse@3" / "argon.bin")
    image = FirmwareStore(tmp_path).image("greenhouse", "3", ARGON)
    assert (image.app, image.version, image.build) == ("greenhouse", "3", None)


def test_the_command_line_goes_before_the_rig_file_before_folder_and_compiled(tmp_path: Path) -> None:
    apps = tmp_path / "firmware"
    places = {
        "option": write(tmp_path / "mine.bin", b"by option"),
        "rig": write(tmp_path / "build" / "argon.bin", b"by rig"),
        "folder": write(tmp_path / "images" / "greenhouse@1" / "argon.bin", b"by folder"),
        "compiled": write(apps / "greenhouse" / "target" / "6.2.0" / "argon" / "greenhouse.bin", b"compiled"),
    }
    rig = NamedImage("greenhouse", None, "build/{platform}.bin", "rig")
    options = given(f"greenhouse={places['option']}")
    images = tmp_path / "images"
    stores = {
        "option": FirmwareStore(images, given=options, named=[rig], applications=[apps], root=tmp_path),
        "rig": FirmwareStore(images, named=[rig], applications=[apps], root=tmp_path),
        "folder": FirmwareStore(images, applications=[apps]),
        "compiled": FirmwareStore(tmp_path / "nothing", applications=[apps]),
    }
    found = {name: store.image("greenhouse", "1", ARGON).path for name, store in stores.items()}
    assert found == places


def test_the_rig_file_names_images_from_its_project(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.hil]\n")
    rig = tmp_path / "rigs" / "mine.toml"
    rig.parent.mkdir()
    slot = '[[slots]]\nname = "argon-1"\nport = "1-3"\nplatform = "argon"\ndevice_os = "6.2.0"\n'
    images = (
        '[firmware.images]\ngreenhouse = "build/{platform}.bin"\n"greenhouse@2" = "next/{platform}.bin"\n'
    )
    rig.write_text(f'name = "mine"\n[cloud]\nhost = "127.0.0.1"\n{images}{slot}')
    now, following = write(tmp_path / "build" / "argon.bin"), write(tmp_path / "next" / "argon.bin")
    store = FirmwareStore.of(load_rig(rig))
    assert store.image("greenhouse", None, ARGON).path == now
    assert store.image("greenhouse", "2", ARGON).path == following
    option = FirmwareStore.of(load_rig(rig), [f"greenhouse@2={now}"])
    assert option.image("greenhouse", "2", ARGON).path == now


def test_an_option_for_another_platform_leaves_the_rest_as_it_is(tmp_path: Path) -> None:
    mine = write(tmp_path / "mine.bin", b"by option")
    folder = write(tmp_path / "greenhouse@1" / "boron.bin", platform="boron")
    store = FirmwareStore(tmp_path, given=given(f"greenhouse={mine}"))
    assert store.image("greenhouse", None, ARGON).path == mine
    assert store.image("greenhouse", None, BORON).path == folder
    with pytest.raises(UsageError, match=r"no image of greenhouse for Photon.*\n.*\n.*mine.bin is for Argon"):
        store.image("greenhouse", None, by_name("photon"))


def test_a_product_version_that_contradicts_the_one_asked_for_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "greenhouse.bin", product=3)
    store = FirmwareStore(tmp_path, given=given(f"greenhouse={path}"))
    assert store.image("greenhouse", "3", ARGON).version == "3"
    assert store.image("greenhouse", None, ARGON).version == "3"
    with pytest.raises(UsageError, match=r"expected: greenhouse version 2\n.*PRODUCT_VERSION 3 in the image"):
        store.image("greenhouse", "2", ARGON)


def test_an_image_that_says_another_name_or_version_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "greenhouse@1" / "argon.bin", b"HIL-APP:probe@1\n")
    write(tmp_path / "probe@2" / "argon.bin", b"HIL-APP:probe@1\n")
    for app, version in (("greenhouse", "1"), ("probe", "2")):
        with pytest.raises(UsageError, match="the image says probe@1"):
            FirmwareStore(tmp_path).image(app, version, ARGON)


def test_an_image_for_another_platform_in_a_platform_s_place_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "greenhouse@1" / "argon.bin", platform="boron")
    with pytest.raises(UsageError, match=r"expected: an image for Argon\n.*one for Boron"):
        FirmwareStore(tmp_path).image("greenhouse", "1", ARGON)


def test_several_compiled_images_are_not_guessed_from(tmp_path: Path) -> None:
    for release in ("6.1.1", "6.2.0"):
        write(tmp_path / "greenhouse" / "target" / release / "argon" / "greenhouse.bin")
    with pytest.raises(UsageError, match=r"several images of greenhouse for argon.*\n.*6.1.1.*6.2.0"):
        FirmwareStore(tmp_path / "images", applications=[tmp_path]).image("greenhouse", None, ARGON)


def test_a_missing_or_broken_image_is_named(tmp_path: Path) -> None:
    store = FirmwareStore(tmp_path)
    with pytest.raises(
        UsageError, match=r"(?s)no image of probe for Photon.*probe@1/photon.bin.*nothing of probe"
    ):
        store.image("probe", "1", by_name("photon"))
    path = write(tmp_path / "probe@1" / "argon.bin")
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(WireError, match=r"argon.bin is broken: module has a wrong CRC-32"):
        store.image("probe", "1", ARGON)
    missing = FirmwareStore(tmp_path, given=given("probe=nowhere.bin"))
    with pytest.raises(
        UsageError, match=r"(?s)nowhere.bin.*no such file.*correct --firmware probe=nowhere.bin"
    ):
        missing.image("probe", "1", ARGON)


@pytest.mark.parametrize(
    "text", ["greenhouse", "=x.bin", "greenhouse=", "green house=x.bin", "greenhouse@=x"]
)
def test_an_option_that_is_no_assignment_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="NAME@VERSION=PATH"):
        named_by_option(text)
