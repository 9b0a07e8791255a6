"""The payload of GitHub's ``pull_request`` event, with every field, for a repository that has no forge.

What GitHub would know and a local repository does not (counts, avatars, identifiers) has the value of a new, empty
repository; identifiers are made from names, so that the same repository always has the same.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from urllib.parse import quote, urlsplit

from greenroom.model.manifest import Json

Payload = dict[str, Json]

BASE_BRANCH = "main"
NO_COMMIT = "0" * 40

_USER_LINKS = {
    "followers_url": "/followers",
    "following_url": "/following{/other_user}",
    "gists_url": "/gists{/gist_id}",
    "starred_url": "/starred{/owner}{/repo}",
    "subscriptions_url": "/subscriptions",
    "organizations_url": "/orgs",
    "repos_url": "/repos",
    "events_url": "/events{/privacy}",
    "received_events_url": "/received_events",
}
_REPOSITORY_LINKS = {
    "forks_url": "/forks",
    "keys_url": "/keys{/key_id}",
    "collaborators_url": "/collaborators{/collaborator}",
    "teams_url": "/teams",
    "hooks_url": "/hooks",
    "issue_events_url": "/issues/events{/number}",
    "events_url": "/events",
    "assignees_url": "/assignees{/user}",
    "branches_url": "/branches{/branch}",
    "tags_url": "/tags",
    "blobs_url": "/git/blobs{/sha}",
    "git_tags_url": "/git/tags{/sha}",
    "git_refs_url": "/git/refs{/sha}",
    "trees_url": "/git/trees{/sha}",
    "statuses_url": "/statuses/{sha}",
    "languages_url": "/languages",
    "stargazers_url": "/stargazers",
    "contributors_url": "/contributors",
    "subscribers_url": "/subscribers",
    "subscription_url": "/subscription",
    "commits_url": "/commits{/sha}",
    "git_commits_url": "/git/commits{/sha}",
    "comments_url": "/comments{/number}",
    "issue_comment_url": "/issues/comments{/number}",
    "contents_url": "/contents/{+path}",
    "compare_url": "/compare/{base}...{head}",
    "merges_url": "/merges",
    "archive_url": "/{archive_format}{/ref}",
    "downloads_url": "/downloads",
    "issues_url": "/issues{/number}",
    "pulls_url": "/pulls{/number}",
    "milestones_url": "/milestones{/number}",
    "notifications_url": "/notifications{?since,all,participating}",
    "labels_url": "/labels{/name}",
    "releases_url": "/releases{/id}",
    "deployments_url": "/deployments",
}
_FEATURES = ("has_issues", "has_projects", "has_downloads", "has_wiki")
_ABSENT = ("has_pages", "private", "fork", "archived", "disabled", "is_template", "web_commit_signoff_required")
_COUNTS = ("size", "stargazers_count", "watchers_count", "forks_count", "open_issues_count")
_UNSET = ("description", "homepage", "language", "mirror_url", "license")


def payload(
    action: str,
    *,
    html_url: str,
    number: int,
    title: str,
    branch: str,
    head: str,
    state: str,
    updated_at: str,
    before: str = "",
    labels: Sequence[str] = (),
    draft: bool = False,
    label: str = "",
    former_title: str = "",
) -> Payload:
    """The event for ``action``, one of ``model.pull.Action`` that GitHub has.

    ``html_url`` is the repository's address, as a ReviewApp names it; ``head`` the commit that ``branch`` is at, and
    ``before`` the one that a push replaced; ``state`` is ``open`` or ``closed``; ``updated_at`` like
    ``2026-01-31T12:00:00Z``; ``labels`` are those that are on now, ``label`` the one that was just put on or taken
    off; ``former_title`` is what ``edited`` changed.
    """
    repository = _repository(html_url, updated_at)
    sender = repository["owner"]
    content: Payload = {
        "action": action,
        "number": number,
        "pull_request": {
            **_pull_links(repository, number, head),
            "id": _identifier(f"{html_url}#{number}"),
            "node_id": f"PR_{_identifier(f'{html_url}#{number}')}",
            "number": number,
            "state": state,
            "locked": False,
            "title": title,
            "user": sender,
            "body": None,
            "created_at": updated_at,
            "updated_at": updated_at,
            "closed_at": updated_at if state == "closed" else None,
            "head": _side(repository, branch, head),
            "base": _side(repository, BASE_BRANCH, NO_COMMIT),
            **_untouched(),
            "draft": draft,
            "labels": [_label(repository, name) for name in labels],
        },
        "repository": repository,
        "sender": sender,
    }
    return {**content, **_particulars(action, repository, head, before, label, former_title)}


def _particulars(
    action: str, repository: Mapping[str, Json], head: str, before: str, label: str, former_title: str
) -> Payload:
    """What only the events of one action have."""
    match action:
        case "synchronize":
            return {"before": before, "after": head}
        case "labeled" | "unlabeled":
            return {"label": _label(repository, label)}
        case "edited":
            return {"changes": {"title": {"from": former_title}}}
        case _:
            return {}


def _pull_links(repository: Mapping[str, Json], number: int, head: str) -> Payload:
    html, api = f"{repository['html_url']}/pull/{number}", repository["url"]
    pull, issue = f"{api}/pulls/{number}", f"{api}/issues/{number}"
    links = {
        "html": html,
        "issue": issue,
        "comments": f"{issue}/comments",
        "review_comments": f"{pull}/comments",
        "review_comment": f"{api}/pulls/comments{{/number}}",
        "commits": f"{pull}/commits",
        "statuses": f"{api}/statuses/{head}",
    }
    return {
        "url": pull,
        "diff_url": f"{html}.diff",
        "patch_url": f"{html}.patch",
        **{f"{name}_url": link for name, link in links.items()},
        "_links": {name: {"href": link} for name, link in {"self": pull, **links}.items()},
    }


def _untouched() -> Payload:
    """What a pull request has on which nobody has worked yet."""
    nothing = dict.fromkeys(("merged_at", "merge_commit_sha", "assignee", "milestone", "auto_merge", "merged_by"))
    unknown = dict.fromkeys(("active_lock_reason", "mergeable", "rebaseable"))
    counts = dict.fromkeys(("comments", "review_comments", "commits", "additions", "deletions", "changed_files"), 0)
    lists: Payload = {"assignees": [], "requested_reviewers": [], "requested_teams": []}
    flags = dict.fromkeys(("merged", "maintainer_can_modify"), False)
    return {
        **nothing,
        **unknown,
        **counts,
        **lists,
        **flags,
        "author_association": "OWNER",
        "mergeable_state": "unknown",
    }


def _label(repository: Mapping[str, Json], name: str) -> Payload:
    identifier = _identifier(f"{repository['html_url']} {name}")
    return {
        "id": identifier,
        "node_id": f"LA_{identifier}",
        "url": f"{repository['url']}/labels/{quote(name, safe='')}",
        "name": name,
        "color": "ededed",
        "default": False,
        "description": None,
    }


def _side(repository: Mapping[str, Json], branch: str, commit: str) -> Payload:
    owner = repository["owner"]
    login = owner["login"] if isinstance(owner, Mapping) else ""
    return {"label": f"{login}:{branch}", "ref": branch, "sha": commit, "user": owner, "repo": repository}


def _repository(html_url: str, updated_at: str) -> Payload:
    address = urlsplit(html_url)
    owner, _, name = address.path.strip("/").removesuffix(".git").rpartition("/")
    site = f"{address.scheme}://{address.netloc}"
    api = f"{address.scheme}://api.{address.netloc}/repos/{owner}/{name}"
    identifier = _identifier(html_url)
    return {
        "id": identifier,
        "node_id": f"R_{identifier}",
        "name": name,
        "full_name": f"{owner}/{name}",
        "owner": _user(owner, site, f"{address.scheme}://api.{address.netloc}"),
        "html_url": html_url,
        "url": api,
        "git_url": f"git://{address.netloc}/{owner}/{name}.git",
        "ssh_url": f"git@{address.netloc}:{owner}/{name}.git",
        "clone_url": f"{site}/{owner}/{name}.git",
        "svn_url": f"{site}/{owner}/{name}",
        "created_at": updated_at,
        "updated_at": updated_at,
        "pushed_at": updated_at,
        "default_branch": BASE_BRANCH,
        "visibility": "public",
        "topics": [],
        "custom_properties": {},
        **{field: f"{api}{path}" for field, path in _REPOSITORY_LINKS.items()},
        **dict.fromkeys(_FEATURES, True),
        **dict.fromkeys(_ABSENT, False),
        **dict.fromkeys((*_COUNTS, "forks", "open_issues", "watchers"), 0),
        **dict.fromkeys(_UNSET),
    }


def _user(login: str, site: str, api: str) -> Payload:
    url = f"{api}/users/{login}"
    return {
        "login": login,
        "id": _identifier(login),
        "node_id": f"U_{_identifier(login)}",
        "avatar_url": f"{site}/{login}.png",
        "gravatar_id": "",
        "url": url,
        "html_url": f"{site}/{login}",
        **{field: f"{url}{path}" for field, path in _USER_LINKS.items()},
        "type": "User",
        "site_admin": False,
    }


def _identifier(name: str) -> int:
    return zlib.crc32(name.encode())
