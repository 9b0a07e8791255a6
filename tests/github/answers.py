"""What the GitHub stand-in answers to each operation, in the shapes of GitHub's published description."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.github.openapi import Operation
from tests.github.shapes import (
    comment_shape,
    delivery_shape,
    deployment_shape,
    fill,
    pull_shape,
    time_of,
    user_fields,
    user_shape,
)
from tests.github.state import Comment, Deployment, Hook, Pull, Repository, User, World


@dataclass
class Call:
    """A request that was understood. ``user`` is who asks; None for an App itself."""

    world: World
    site: str
    operation: Operation
    names: Mapping[str, str]
    query: Mapping[str, str]
    body: Any
    user: User | None

    def repository(self) -> Repository:
        found = self.world.find(f"{self.names['owner']}/{self.names['repo']}")
        if found is None:
            raise Refused(404, "Not Found")
        return found

    def pull(self, name: str = "pull_number") -> Pull:
        found = self.repository().pulls.get(int(self.names[name]))
        if found is None:
            raise Refused(404, "Not Found")
        return found


@dataclass
class Reply:
    """``entries`` is what of the body is to be cut into pages, ``cursor`` that these have no numbers."""

    body: Any = None
    status: int = 200
    entries: Sequence[Any] | None = None
    whole: Callable[[Sequence[Any]], Any] = list
    cursor: bool = False


class Refused(Exception):
    def __init__(self, status: int, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"message": message, "documentation_url": "https://docs.github.com/rest", **fields}


Handler = Callable[[Call], Reply]


@dataclass
class _Handlers:
    by_operation: dict[Operation, Handler] = field(default_factory=dict)

    def __call__(self, method: str, path: str) -> Callable[[Handler], Handler]:
        def register(handler: Handler) -> Handler:
            self.by_operation[method, path] = handler
            return handler

        return register


_on = _Handlers()
HANDLERS: Mapping[Operation, Handler] = _on.by_operation

_REPO = "/repos/{owner}/{repo}"


@_on("GET", f"{_REPO}/pulls")
def _pulls(call: Call) -> Reply:
    pulls = list(call.repository().pulls.values())
    if call.query.get("state", "open") == "open":
        pulls = [pull for pull in pulls if pull.is_open]
    if call.query.get("direction", "desc") == "desc":
        pulls.reverse()
    return Reply(entries=[pull_shape("pull-request-simple", call.site, pull) for pull in pulls])


@_on("GET", f"{_REPO}/pulls/{{pull_number}}")
def _pull(call: Call) -> Reply:
    pull = call.pull()
    extra = {"merged": pull.is_merged, "changed_files": len(pull.files), "mergeable_state": "clean"}
    return Reply(pull_shape("pull-request", call.site, pull) | extra)


@_on("GET", f"{_REPO}/pulls/{{pull_number}}/files")
def _files(call: Call) -> Reply:
    files = [
        fill("diff-entry", filename=file.path, status="renamed" if file.former else "modified")
        | ({"previous_filename": file.former} if file.former else {})
        for file in call.pull().files
    ]
    return Reply(entries=files[:3000])


@_on("GET", f"{_REPO}/pulls/{{pull_number}}/reviews")
def _reviews(call: Call) -> Reply:
    reviews = [
        fill(
            "pull-request-review",
            id=review.id,
            user=None if review.reviewer is None else user_shape(review.reviewer),
            state=review.state,
            commit_id=review.commit,
        )
        for review in call.pull().reviews
    ]
    return Reply(entries=reviews)


@_on("GET", f"{_REPO}/collaborators/{{username}}/permission")
def _permission(call: Call) -> Reply:
    login = call.names["username"]
    role = call.repository().permissions.get(login.lower())
    if role is None:
        raise Refused(404, f"{login} is not a user")
    # The roles that came later are told as those of old that they grew from.
    permission = {"maintain": "write", "triage": "read"}.get(role, role)
    return Reply(fill("repository-collaborator-permission", permission=permission, role_name=role))


@_on("GET", f"{_REPO}/issues/{{issue_number}}/comments")
def _comments(call: Call) -> Reply:
    return Reply(entries=[comment_shape(call.world.app, comment) for comment in call.pull("issue_number").comments])


@_on("POST", f"{_REPO}/issues/{{issue_number}}/comments")
def _comment(call: Call) -> Reply:
    assert call.user is not None
    comment = call.world.comment(call.pull("issue_number"), call.user, _text_of(call))
    return Reply(comment_shape(call.world.app, comment), 201)


@_on("PATCH", f"{_REPO}/issues/comments/{{comment_id}}")
def _edit_comment(call: Call) -> Reply:
    comment = _comment_of(call)
    comment.body = _text_of(call)
    return Reply(comment_shape(call.world.app, comment))


@_on("POST", f"{_REPO}/issues/comments/{{comment_id}}/reactions")
def _react(call: Call) -> Reply:
    assert call.user is not None
    comment, content = _comment_of(call), call.body["content"]
    reaction = fill("reaction", content=content, user=user_shape(call.user))
    if (call.user.login, content) in comment.reactions:
        return Reply(reaction, 200)
    comment.reactions.append((call.user.login, content))
    return Reply(reaction, 201)


@_on("GET", f"{_REPO}/deployments")
def _deployments(call: Call) -> Reply:
    wanted = call.query.get("environment", "none")
    found = [made for made in reversed(call.repository().deployments) if wanted in ("none", made.environment)]
    return Reply(entries=[deployment_shape(made) for made in found])


@_on("POST", f"{_REPO}/deployments")
def _deploy(call: Call) -> Reply:
    body, repository = call.body, call.repository()
    if body.get("auto_merge", True):
        return Reply({"message": "Auto-merged main into the branch on deployment."}, 202)
    if all(body["ref"] not in (pull.head, pull.branch) for pull in repository.pulls.values()):
        raise Refused(422, f"No ref found for: {body['ref']}")
    made = call.world.deploy(repository, body["ref"], body["environment"], body["description"])
    return Reply(deployment_shape(made), 201)


@_on("POST", f"{_REPO}/deployments/{{deployment_id}}/statuses")
def _deployment_status(call: Call) -> Reply:
    made = _deployment_of(call)
    if len(call.body.get("description", "")) > 140:
        raise Refused(422, "Validation Failed", errors=[{"code": "custom", "message": "description is too long"}])
    if call.body["state"] == "success" and call.body.get("auto_inactive", True):
        for earlier in call.repository().deployments:
            if earlier.environment == made.environment and earlier.id < made.id and earlier.state == "success":
                earlier.statuses.append({"state": "inactive"})
    made.statuses.append(call.body)
    return Reply(fill("deployment-status", state=call.body["state"], description=call.body["description"]), 201)


@_on("GET", f"{_REPO}/environments")
def _environments(call: Call) -> Reply:
    names = call.repository().environments

    def whole(page: Sequence[Any]) -> Any:
        return {"total_count": len(names), "environments": list(page)}

    return Reply(entries=[fill("environment", name=name) for name in names], whole=whole)


@_on("DELETE", f"{_REPO}/environments/{{environment_name}}")
def _remove_environment(call: Call) -> Reply:
    repository, name = call.repository(), call.names["environment_name"]
    if name not in repository.environments:
        raise Refused(404, "Not Found")
    repository.environments.remove(name)
    return Reply(status=204)


@_on("GET", f"{_REPO}/hooks")
def _hooks(call: Call) -> Reply:
    hooks = [
        fill("hook", id=hook.id, active=hook.active, events=["pull_request"], config={"url": hook.url})
        for hook in call.repository().hooks
    ]
    return Reply(entries=hooks)


@_on("GET", f"{_REPO}/hooks/{{hook_id}}/deliveries")
def _deliveries(call: Call) -> Reply:
    return _delivery_list(_hook_of(call))


@_on("POST", f"{_REPO}/hooks/{{hook_id}}/deliveries/{{delivery_id}}/attempts")
def _attempt(call: Call) -> Reply:
    return _attempted(call, _hook_of(call))


@_on("GET", "/user")
def _whoami(call: Call) -> Reply:
    user = call.user
    if user is None or user.is_bot:
        raise Refused(403, "Resource not accessible by integration")
    return Reply(fill("public-user", **user_fields(user), user_view_type="public"))


@_on("GET", "/app")
def _app(call: Call) -> Reply:
    assert call.world.app is not None
    fields = {"id": call.world.app.id, "slug": call.world.app.slug, "name": "Greenroom"}
    return Reply(fill("integration", **fields, permissions={"deployments": "write"}))


@_on("GET", "/app/hook/config")
def _app_hook(call: Call) -> Reply:
    assert call.world.app is not None
    return Reply({"url": call.world.app.hook.url, "content_type": "json"})


@_on("GET", "/app/hook/deliveries")
def _app_deliveries(call: Call) -> Reply:
    assert call.world.app is not None
    return _delivery_list(call.world.app.hook)


@_on("POST", "/app/hook/deliveries/{delivery_id}/attempts")
def _app_attempt(call: Call) -> Reply:
    assert call.world.app is not None
    return _attempted(call, call.world.app.hook)


@_on("GET", f"{_REPO}/installation")
def _installation(call: Call) -> Reply:
    assert call.world.app is not None
    repository = call.repository()
    for number, repositories in call.world.app.installations.items():
        if repository.id in repositories:
            return Reply(fill("installation", id=number, app_id=call.world.app.id, app_slug=call.world.app.slug))
    raise Refused(404, "Not Found")


@_on("POST", "/app/installations/{installation_id}/access_tokens")
def _access_token(call: Call) -> Reply:
    assert call.world.app is not None
    number = int(call.names["installation_id"])
    if number not in call.world.app.installations:
        raise Refused(404, "Not Found")
    secret, ends = call.world.installation_token(number)
    return Reply(fill("installation-token", token=secret, expires_at=time_of(ends)), 201)


# Parts


def _comment_of(call: Call) -> Comment:
    wanted = int(call.names["comment_id"])
    for pull in call.repository().pulls.values():
        for comment in pull.comments:
            if comment.id == wanted:
                return comment
    raise Refused(404, "Not Found")


def _text_of(call: Call) -> str:
    body: str = call.body["body"]
    if not body.strip() or len(body) > 65536:
        error = {"resource": "IssueComment", "code": "unprocessable", "field": "data", "message": "Body is wrong"}
        raise Refused(422, "Validation Failed", errors=[error])
    return body


def _deployment_of(call: Call) -> Deployment:
    wanted = int(call.names["deployment_id"])
    for made in call.repository().deployments:
        if made.id == wanted:
            return made
    raise Refused(404, "Not Found")


def _hook_of(call: Call) -> Hook:
    wanted = int(call.names["hook_id"])
    for hook in call.repository().hooks:
        if hook.id == wanted:
            return hook
    raise Refused(404, "Not Found")


def _delivery_list(hook: Hook) -> Reply:
    newest_first = sorted(hook.deliveries, key=lambda delivery: (delivery.delivered_at, delivery.id), reverse=True)
    return Reply(entries=[delivery_shape(delivery) for delivery in newest_first], cursor=True)


def _attempted(call: Call, hook: Hook) -> Reply:
    wanted = int(call.names["delivery_id"])
    for delivery in hook.deliveries:
        if delivery.id == wanted:
            call.world.redeliver(hook, delivery)
            return Reply({}, 202)
    raise Refused(404, "Not Found")
