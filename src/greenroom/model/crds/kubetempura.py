"""ReviewApp and PR, KubeTempura's two kinds. ``model.reviewapp`` and ``model.environment`` parse what gets through.

Whatever KubeTempura took is taken: names, types and the fields that are optional. New are the limits, the rules, which
tell at once what used to show much later, and the status.
"""

from __future__ import annotations

from greenroom.model.crds.gate import gate
from greenroom.model.crds.schema import (
    AGE,
    Column,
    Rule,
    Schema,
    array,
    boolean,
    conditions,
    definition,
    fields,
    integer,
    matches,
    observed_generation,
    open_fields,
    ruled,
    string,
)
from greenroom.model.environment import VARIABLE_NAME
from greenroom.model.manifest import GROUP, NAME_LIMIT, PR, REVIEW_APP
from greenroom.model.reviewapp import ACCOUNT_NAME, REPOSITORY, REPOSITORY_CURE

PULL_NUMBER = "[1-9][0-9]*"
CATEGORY = "greenroom"

_RESOURCES_LIMIT = 500
_VARIABLES_LIMIT = 500
_URL_LIMIT = 2048
_API_VERSION_LIMIT = 320  # a DNS name of 253 characters, a slash, and a version of 63


def review_app() -> Schema:
    columns = (Column("Repository", ".spec.githubRepository", "Whose pull requests get an environment."), AGE)
    return definition(REVIEW_APP, "reviewapps", _review_app(), columns, short_names=["ra"], categories=[CATEGORY])


def pr() -> Schema:
    columns = (
        Column("PR", ".spec.prNumber", "Number of the pull request."),
        Column("Commit", ".spec.headCommitRef", "The commit that the environment should show."),
        Column("Shown", ".status.shownCommit", "The commit that it shows now.", wide=True),
        Column("Ready", ".status.conditions[?(@.type=='Ready')].status", "Whether it shows the commit it should."),
        # A column shows the first match, Ready stands first, and no condition is False while Ready is True.
        Column("Waiting for", ".status.conditions[?(@.status=='False')].reason", "Why it is not ready."),
        Column("URL", ".status.url", "Where to look at it."),
        Column("Message", ".status.conditions[?(@.type=='Ready')].message", "The same for people.", wide=True),
        AGE,
    )
    return definition(PR, "prs", _pr(), columns, categories=[CATEGORY])


def _review_app() -> Schema:
    properties = {"spec": _review_app_spec(), "status": _review_app_status()}
    return fields(
        "A ReviewApp is the template of what every open pull request of a repository gets: Greenroom makes a PR object"
        " for each, and from this template the objects of its environment. Editing it changes the environments that"
        " are there already; what is taken out of it is deleted from them.",
        properties,
        required=["spec"],
    )


def _review_app_spec() -> Schema:
    repository = ruled(
        string(
            "The repository whose pull requests get an environment, as its address in the browser. A trailing slash,"
            " .git, and the case of letters make no difference. Several ReviewApps may name the same one; each makes"
            " environments of its own. Example: https://github.com/acme/shop",
            maxLength=_URL_LIMIT,
        ),
        Rule(matches(REPOSITORY.pattern), REPOSITORY_CURE),
    )
    resources = array(
        "The objects of an environment, of any kind that the cluster serves and that belongs to a namespace."
        " Placeholders in text values, not in keys, are filled in for each pull request: {{PR_NUMBER}};"
        " {{COMMIT_REF}}, the head commit; {{COMMIT_REF_SHORT}}, its first 7 characters; {{PR_TITLE}}, {{PR_BRANCH}},"
        " {{PR_BASE}}, {{PR_AUTHOR}} and {{PR_LABELS}}, which in names, hosts, images and commands take a filter that"
        " makes a valid name of them: {{PR_BRANCH | slug}}, or {{PR_BRANCH | slug 30}} for 30 characters at most."
        " Anything else in double braces stays as it stands. The objects are made in the namespace of the ReviewApp,"
        " whatever they say themselves, and owned by the PR object. Give each a name of its own, such as"
        " pr{{PR_NUMBER}}.",
        _resource(),
        maxItems=_RESOURCES_LIMIT,
    )
    account = ruled(
        string(
            "The ServiceAccount, in the namespace of the ReviewApp, in whose name Greenroom makes, changes and deletes"
            " the objects, so that whoever writes this ReviewApp gets no more than that account may do. It needs a"
            " Role for every kind in resources, and Greenroom a Role that lets it impersonate the account; what is"
            " missing is told, with the rule to add, by the condition Ready of each PR. Default: Greenroom's own"
            " account. Example: previews",
            maxLength=NAME_LIMIT,
        ),
        Rule(
            matches(ACCOUNT_NAME.pattern),
            "name a ServiceAccount of the same namespace: lower case letters, digits, '-' and '.'",
        ),
    )
    return fields(
        "What every pull request gets.",
        {
            "githubRepository": repository,
            "gate": gate(),
            "buildWorkflow": _build_workflow(),
            "resources": resources,
            "serviceAccountName": account,
        },
        required=["githubRepository", "resources"],
    )


def _build_workflow() -> Schema:
    return string(
        "The workflow of GitHub Actions that builds the images, by its name or its file: when it fails, an environment"
        " that waits for its image says so (BuildFailed), with the address of the run. Default: none; a build that"
        " succeeds is heeded whatever its name. Example: pull-request.yml",
        minLength=1,
        maxLength=NAME_LIMIT,
    )


def _resource() -> Schema:
    """Not ``x-kubernetes-embedded-resource``: the API server would refuse placeholders in ``metadata.name``."""
    name = string(
        "Name of the object. Without a placeholder all environments of the namespace want the same object, and only"
        " the first gets it. Example: pr{{PR_NUMBER}}"
    )
    properties = {
        "apiVersion": string("Group and version of its kind. Examples: v1, apps/v1", maxLength=_API_VERSION_LIMIT),
        "kind": string("Its kind. Examples: Deployment, Service, ConfigMap"),
        "metadata": open_fields("Name, labels and annotations. A namespace given here is not used.", {"name": name}),
    }
    return ruled(
        open_fields("A Kubernetes object with any fields, placeholders included.", properties),
        Rule(
            "has(self.apiVersion) && size(self.apiVersion) > 0",
            "every resource needs an apiVersion, such as apiVersion: apps/v1",
            ".apiVersion",
        ),
        Rule(
            "has(self.kind) && size(self.kind) > 0",
            "every resource needs a kind, such as kind: Deployment",
            ".kind",
        ),
        Rule(
            "has(self.metadata) && has(self.metadata.name) && size(self.metadata.name) > 0",
            "every resource needs a name, such as metadata: {name: 'pr{{PR_NUMBER}}'}",
            ".metadata.name",
        ),
        Rule(
            f"!has(self.apiVersion) || !self.apiVersion.startsWith('{GROUP}/')",
            "a ReviewApp cannot make ReviewApps and PRs: take it out of the template",
            ".apiVersion",
        ),
    )


def _review_app_status() -> Schema:
    closed: Schema = {
        "description": "Pull requests that were closed lately, by number, so that a delivery that comes late brings"
        " none of them back. Remembered for 30 days, 1000 at most.",
        "type": "object",
        "additionalProperties": string("When, by the forge's clock, and how it was closed."),
    }
    refused: Schema = {
        "description": "Open pull requests that the gate refuses, by number. The newest 1000 at most.",
        "type": "object",
        "additionalProperties": fields(
            "One pull request.",
            {
                "reason": string("Which part of the gate refuses it: Labels, Draft, Fork, …"),
                "message": string("The same for people."),
                "observed": string("What is known of it, so that an edited gate can be asked again."),
            },
        ),
    }
    moved = fields(
        "Where the repository is, since it was renamed or transferred.",
        {
            "named": string("The address that this ReviewApp has in spec.githubRepository."),
            "address": string("The present one."),
        },
    )
    said = conditions(
        "ForgeReachable, with credentials for the forge: whether its pull requests could be listed, so that no lost"
        " delivery matters."
    )
    properties = {"closed": closed, "refused": refused, "repository": moved, "conditions": said}
    return fields("Written by Greenroom.", properties)


def _pr() -> Schema:
    return fields(
        "A PR is one environment. Greenroom makes it when a pull request is opened, with the name"
        " <reviewapp>-pr<number>, and deletes it, with everything in it, when the pull request is closed. People may"
        " write one by hand, too; it lasts until they delete it. Wait for it with:"
        " kubectl wait --for=condition=Ready pr/reviewapp-pr1",
        {"spec": _pr_spec(), "status": _pr_status()},
        required=["spec"],
    )


def _pr_spec() -> Schema:
    number = ruled(
        string(
            'Number of the pull request, as text: in YAML it needs quotes. {{PR_NUMBER}} in the template. Example: "7"',
            maxLength=18,
        ),
        Rule(matches(PULL_NUMBER), 'write the number of the pull request, in quotes: "7"'),
    )
    properties = {
        "parentReviewApp": string(
            "The ReviewApp, in the same namespace, whose template is used. Example: reviewapp",
            minLength=1,
            maxLength=NAME_LIMIT,
        ),
        "prNumber": number,
        "headCommitRef": string(
            "The commit to show, in full, as the images are tagged. {{COMMIT_REF}} in the template, and its first 7"
            " characters {{COMMIT_REF_SHORT}}. May be left out if the template uses neither. Default: none. Example:"
            " b97738ff24a893820cdf9ff7eb033fb40fadc7d9"
        ),
        "envVars": array(
            "Environment variables for this pull request only. They are merged by name over env of every container,"
            " init containers included, of every Deployment, StatefulSet, DaemonSet, Job and CronJob. Default: none.",
            _variable(),
            maxItems=_VARIABLES_LIMIT,
        ),
    }
    return fields(
        "Which pull request, and what it is to show.",
        {**properties, "pullRequest": _pull_request()},
        required=["parentReviewApp", "prNumber"],
    )


def _pull_request() -> Schema:
    label = string("One label.")
    return fields(
        "What the forge says of the pull request, for the variables {{PR_TITLE}}, {{PR_BRANCH}}, {{PR_BASE}},"
        " {{PR_AUTHOR}} and {{PR_LABELS}}. Written by Greenroom where a delivery made the PR.",
        {
            "title": string("Its title."),
            "branch": string("The branch with its commits."),
            "base": string("The branch that it is to be merged into."),
            "author": string("Who opened it: the login."),
            "labels": array("The labels that are on.", label),
        },
    )


def _variable() -> Schema:
    name = ruled(
        string("Name of the variable. Example: LOG_LEVEL", maxLength=NAME_LIMIT),
        Rule(matches(VARIABLE_NAME.pattern), "use letters, digits, '_', '-' and '.', and begin with no digit"),
    )
    value = string('Its value. Placeholders are filled in as in the template. Default: "". Example: debug')
    described = "One variable. Other fields, such as valueFrom, are taken and have no effect, as in KubeTempura."
    return open_fields(described, {"name": name, "value": value}, required=["name"])


def _pr_status() -> Schema:
    properties = {
        "observedGeneration": observed_generation(),
        "commit": string(
            "The commit that the environment was last told to show: spec.headCommitRef, once it was seen."
        ),
        "shownCommit": string(
            "The commit that the pods that are ready run, which is what a visitor sees. Until a push is rolled out it"
            " is the commit before."
        ),
        "url": string(
            "Where the environment is reached: the first GatewayRoute with an exact host. Example:"
            " http://pr7.pr-env.example.com"
        ),
        "inventory": array("The objects of the environment, so that those no longer wanted are found.", _record()),
        "conditions": conditions(
            "Ready: the address shows the wanted commit; if False, the reason is what it waits for, such as"
            " WaitingForImage, RollingOut, WaitingForRoute, CrashLoopBackOff, ApplyFailed, MissingPermission,"
            " InvalidTemplate or ReviewAppNotFound. Applied: the cluster holds what the template asks for."
            " Admitted, where the ReviewApp has a gate: why the pull request gets an environment."
            " There only when something is to be warned of: TemplateWarning (placeholders were left as they stand, or"
            " fields were left out that the cluster does not take) and DriftWarning (somebody changes an object back"
            " whenever it is put right)."
        ),
        "report": _report(),
    }
    return fields("What became of the environment. Written by Greenroom.", properties)


def _report() -> Schema:
    """No condition tells of ``problem``: the list of conditions is written whole by whoever keeps the environment."""
    properties = {
        "comment": _told("The comment on the pull request.", "A hash of what it says."),
        "deployment": _told(
            "The deployment of the newest commit that one was begun for.",
            "Its state, such as success or failure. Missing while it is in progress.",
        ),
        "problem": string(
            "Why the pull request cannot be told, and what to do, such as a right that the credentials lack. Missing"
            " when it can. It is tried again every 10 minutes."
        ),
    }
    return fields("What the pull request was told, so that nothing is told twice.", properties)


def _told(description: str, said: str) -> Schema:
    properties = {
        "id": integer("How the forge calls it."),
        "commit": string("The commit that it was last written for."),
        "said": string(said),
        "writes": integer("How often it was written for that commit."),
        "at": string("When it was last written.", format="date-time"),
        "deleted": boolean("Whether somebody deleted it. A comment is then not written again."),
    }
    return fields(description, properties)


def _record() -> Schema:
    return fields(
        "One object.",
        {
            "apiVersion": string("Group and version of its kind."),
            "kind": string("Its kind."),
            "name": string("Its name, in the namespace of the PR object."),
            "hash": string("Changes when the template, the commit or a variable changes what the object should be."),
            "live": string("Changes when somebody else changes those same fields in the cluster."),
        },
    )
