"""Which pods a ReplicaSet creates and deletes."""

from __future__ import annotations

from greenroom.core.replicas import new_pod, plan_pods, replica_set_status
from greenroom.model.manifest import Json, Manifest, get, labels_of, name_of, table, text, uid_of


def replica_set(*, asked: int) -> Manifest:
    template: Json = {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "app", "image": "shop:1"}]},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": "web", "namespace": "default", "uid": "uid-of-web"},
        "spec": {"replicas": asked, "template": template},
    }


def test_pods_that_do_not_serve_go_first_and_then_the_youngest() -> None:
    pods = [_pod("a", "01", ready=True), _pod("b", "02", ready=True), _pod("c", "03", ready=True), _pod("d", "00")]
    two = replica_set(asked=2)
    assert [name_of(pod) for pod in plan_pods(two, pods).delete] == ["d", "c"]


def test_pods_that_end_are_replaced() -> None:
    ending = _pod("a", "01", ready=True)
    marked = {**ending, "metadata": {**table(ending, "metadata"), "deletionTimestamp": "2026-01-01"}}
    failed = {**_pod("b", "01"), "status": {"phase": "Failed"}}
    one = replica_set(asked=1)
    assert plan_pods(one, [marked, failed]).create == 1
    assert replica_set_status(one, [marked, failed])["replicas"] == 0


def test_a_new_pod_belongs_to_its_replica_set() -> None:
    owner = replica_set(asked=1)
    pod = new_pod(owner, "web-1")
    assert labels_of(pod) == get(owner, "spec", "template", "metadata", "labels")
    assert text(pod, "metadata", "ownerReferences", 0, "uid") == uid_of(owner)
    assert get(pod, "spec", "containers", 0, "image") == "shop:1"


def _pod(name: str, created: str, *, ready: bool = False) -> dict[str, Json]:
    conditions: Json = [{"type": "Ready", "status": str(ready)}]
    return {
        "metadata": {"name": name, "creationTimestamp": f"2026-01-{created}"},
        "status": {"phase": "Running", "conditions": conditions},
    }
