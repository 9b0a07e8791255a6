"""How the GitHub stand-in tells of what it knows: whole objects, as GitHub's published description has them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tests.github.openapi import published
from tests.github.state import App, Comment, Delivery, Deployment, Pull, Repository, User

fill = published().fill


def user_fields(user: User) -> dict[str, Any]:
    return {"login": user.login, "type": "Bot" if user.is_bot else "User"}


def user_shape(user: User) -> dict[str, Any]:
    return fill("simple-user", **user_fields(user))


def repository_shape(site: str, repository: Repository) -> dict[str, Any]:
    return fill(
        "repository",
        id=repository.id,
        name=repository.name,
        full_name=repository.full_name,
        html_url=f"{site}/{repository.full_name}",
        owner=user_shape(User(repository.owner)),
    )


def pull_shape(schema: str, site: str, pull: Pull) -> dict[str, Any]:
    base = repository_shape(site, pull.repository)
    head = repository_shape(site, pull.fork) if pull.fork else base
    owner = pull.fork.owner if pull.fork else pull.repository.owner
    label = {"color": "ededed"}
    return fill(
        schema,
        number=pull.number,
        state="open" if pull.is_open else "closed",
        title=pull.title,
        user=user_shape(pull.author),
        author_association=pull.association,
        draft=pull.is_draft,
        labels=[{**_LABEL, **label, "id": number, "name": name} for number, name in enumerate(pull.labels, 1)],
        created_at=time_of(pull.created_at),
        updated_at=time_of(pull.updated_at),
        closed_at=None if pull.is_open else time_of(pull.updated_at),
        merged_at=time_of(pull.updated_at) if pull.is_merged else None,
        head={
            "label": f"{owner}:{pull.branch}",
            "ref": pull.branch,
            "sha": pull.head,
            "user": user_shape(User(owner)),
            "repo": None if pull.fork_is_gone else head,
        },
        base={"ref": pull.base, "sha": "0" * 40, "user": user_shape(User(pull.repository.owner)), "repo": base},
        html_url=f"{site}/{pull.repository.full_name}/pull/{pull.number}",
    )


_LABEL = {"node_id": "", "url": "", "description": "", "default": False}


def comment_shape(app: App | None, comment: Comment) -> dict[str, Any]:
    by = fill("integration", slug=app.slug) if app and comment.author.is_bot else None
    fields = {"id": comment.id, "body": comment.body, "user": user_shape(comment.author)}
    return fill("issue-comment", **fields, performed_via_github_app=by)


def deployment_shape(made: Deployment) -> dict[str, Any]:
    return fill(
        "deployment",
        id=made.id,
        sha=made.commit,
        ref=made.commit,
        environment=made.environment,
        description=made.description,
    )


def delivery_shape(delivery: Delivery) -> dict[str, Any]:
    return fill(
        "hook-delivery-item",
        id=delivery.id,
        guid=delivery.guid,
        delivered_at=time_of(delivery.delivered_at),
        redelivery=delivery.redelivery,
        status=delivery.status,
        status_code=delivery.status_code,
        event="pull_request",
    )


def time_of(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


def event_shape(site: str, pull: Pull, action: str, sender: str, **fields: Any) -> dict[str, Any]:
    """The payload of a ``pull_request`` webhook."""
    return {
        "action": action,
        "number": pull.number,
        "pull_request": {**pull_shape("pull-request", site, pull), "merged": pull.is_merged},
        "repository": repository_shape(site, pull.repository),
        "sender": user_shape(User(sender)),
        **fields,
    }
