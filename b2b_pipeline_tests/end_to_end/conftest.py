"""The warehouses, one of each kind, of the company that a module's fixture `installed` sets up."""

from __future__ import annotations

import pytest

from b2b_pipeline_tests.support.end_to_end import ENGINES, Workshop, build, new_warehouses
from b2b_pipeline_tests.support.installation import Installation


@pytest.fixture(scope="module", params=ENGINES)
def shop(request: pytest.FixtureRequest, installed: Installation) -> Workshop:
    return build(installed, new_warehouses(request)())[0]
