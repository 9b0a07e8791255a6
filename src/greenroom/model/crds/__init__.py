"""The CustomResourceDefinitions of every kind that Greenroom reads, as values.

`make crds` writes them to deploy/chart/crds.
``schema`` has the words, ``kubetempura`` and ``appmesh`` the kinds.
"""

from __future__ import annotations

from greenroom.model.crds import appmesh, kubetempura
from greenroom.model.manifest import Manifest


def definitions() -> tuple[Manifest, ...]:
    """All of them, Greenroom's own two first."""
    return (
        kubetempura.review_app(),
        kubetempura.pr(),
        appmesh.mesh(),
        appmesh.virtual_gateway(),
        appmesh.gateway_route(),
        appmesh.virtual_service(),
        appmesh.virtual_node(),
        appmesh.virtual_router(),
    )
