from __future__ import annotations

import pytest

from tests.simulation.toy_campaign import ENGINE


@pytest.fixture(scope="session")
def client():
    """A client of two worker processes; their start takes seconds."""
    from rfloc.simulation.many import connect

    with connect(ENGINE) as client:
        yield client
