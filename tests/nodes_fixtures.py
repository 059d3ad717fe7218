"""Fixtures for tests of the nodes without a server; a test file takes them by importing their names."""

import sys

import pytest

from tests import comfy_double

PACK = "mggtalk_pack_x_test"


def _forget(names):
    for name in [name for name in sys.modules if name.split(".")[0] in names]:
        del sys.modules[name]


@pytest.fixture(scope="session")
def pack_loader(tmp_path_factory):
    stand_in = comfy_double.modules(tmp_path_factory.mktemp("comfy"))
    loaded = []
    sys.modules.update(stand_in)

    def load(name):
        loaded.append(name)
        return comfy_double.load_pack(name)

    yield load
    _forget({*loaded, *stand_in})


@pytest.fixture(scope="session")
def nodes(pack_loader):
    return pack_loader(PACK)[1]


@pytest.fixture(scope="session")
def picture(astronaut):
    """The astronaut as an IMAGE."""
    return astronaut.permute(1, 2, 0)[None].contiguous()


@pytest.fixture(scope="session")
def portrait(nodes, picture):
    return nodes["MGGLoadPortrait"].execute(image=picture, face=0).result[0]
